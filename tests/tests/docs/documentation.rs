//! What the documentation says is true: its commands run, every error code has its page.
//!
//! Each document's `sh` blocks run in order in one bash; a `console` block shows commands after `$ ` and what they print,
//! `…` standing for what varies. What the commands find around them stands in `tests/docs/`: programs and people in
//! `prelude.sh`, and for documents that need more than an empty machine one of the other scripts. Documents with the same
//! needs share a home and a network namespace, so that they may use the real ports. `text` is for what is no command:
//! drawings, and what a command in the background prints. No other language passes unnoticed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use couplet_protocol::Code;
use e2e::document::{Block, Shown, blocks, hidden_command, line_matches, output_matches, shown};
use e2e::{Running, program};
use tempfile::TempDir;

/// What a fence may be named. `rust` is compiled by `cargo test --doc`, `nginx` and `caddyfile` are started by other
/// tests; the rest is run or read here.
const LANGUAGES: [&str; 8] = ["sh", "console", "rust", "toml", "json", "nginx", "caddyfile", "text"];

/// Run by tests of their own: the first two build or take this very suite, the third builds a release.
const RUN_ELSEWHERE: [&str; 3] = ["make test", "make demo", INSTALL];
const INSTALL: &str = "cargo install --locked --path crates/cli";

const PATIENCE: Duration = Duration::from_secs(240);

/// README.md and its like, and everything in docs/.
fn documents() -> Vec<PathBuf> {
    let (mut documents, mut folders) = (Vec::new(), vec![e2e::repository().join("docs")]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.extension() {
                _ if path.is_dir() => folders.push(path),
                Some(extension) if extension == "md" => documents.push(path),
                _ => {}
            }
        }
    }
    let top = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"];
    documents.extend(top.map(|name| e2e::repository().join(name)));
    documents.sort();
    documents
}

/// The script in `tests/docs/` that prepares what a document needs; none for an empty machine.
fn setup_of(path: &Path, commands: &str) -> Option<&'static str> {
    let name = path.file_name().unwrap().to_str().unwrap();
    // A page that starts the host itself needs one that does not run.
    let starts_it = commands.lines().any(|line| line.starts_with("couplet serve") && !line.contains("--state-dir"));
    match name {
        "forward-auth.md" => Some("proxy.sh"),
        "relay-operators.md" => Some("relay.sh"),
        "watches.md" | "dashboard.md" => Some("host.sh"),
        "service.md" => Some("machine.sh"),
        _ if name.starts_with("CPL-") && starts_it => Some("no-host.sh"),
        _ if name.starts_with("CPL-") => Some("host.sh"),
        _ => None,
    }
}

/// A document, ready to be run.
struct Script {
    path: PathBuf,
    /// What bash reads. What a console command prints goes into a file of its own, in the folder `$SHOWN`: servers in
    /// the background print at any time.
    text: String,
    expected: Vec<(usize, Shown)>,
    /// What appears on the terminal at some time: the `text` blocks.
    printed: Vec<Block>,
}

impl Script {
    /// None when the document has no commands.
    fn of(path: &Path) -> Option<Self> {
        let blocks = blocks(&std::fs::read_to_string(path).unwrap());
        if !blocks.iter().any(|block| matches!(block.language.as_str(), "sh" | "console")) {
            return None;
        }
        let mut script =
            Script { path: path.to_owned(), text: String::new(), expected: Vec::new(), printed: Vec::new() };
        for block in blocks {
            match block.language.as_str() {
                "sh" => {
                    let run = block.text.lines().filter(|line| !RUN_ELSEWHERE.contains(&line.trim()));
                    writeln!(script.text, "{}", run.collect::<Vec<_>>().join("\n")).unwrap();
                }
                "console" => script.console(&block),
                "text" => script.printed.push(block),
                _ => {}
            }
        }
        Some(script)
    }

    fn console(&mut self, block: &Block) {
        for shown in shown(&block.text) {
            let file = format!("\"$SHOWN/{}\"", self.expected.len());
            writeln!(self.text, "{{\n{}\n}} >{file} 2>&1 || {{ cat {file}; exit 1; }}", shown.command).unwrap();
            self.expected.push((block.line, shown));
        }
    }

    /// Checks what its commands printed: those of `console` blocks into the folder, others on the terminal.
    fn check(&self, folder: &Path, stderr: &str) {
        for (number, (line, shown)) in self.expected.iter().enumerate() {
            let printed = std::fs::read_to_string(folder.join(number.to_string())).unwrap();
            let lines: Vec<&str> = printed.trim_end().lines().collect();
            assert!(
                output_matches(&shown.output, &lines),
                "{}:{line}: {}\nshown:\n{}\nprinted:\n{printed}",
                self.path.display(),
                shown.command,
                shown.output.join("\n"),
            );
        }
        let lines: Vec<&str> = stderr.lines().collect();
        for block in &self.printed {
            let wanted: Vec<&str> = block.text.lines().collect();
            let is_it = |lines: &[&str]| wanted.iter().zip(lines).all(|(shown, line)| line_matches(shown, line));
            let place = format!("{}:{}", self.path.display(), block.line);
            assert!(
                lines.windows(wanted.len()).any(is_it),
                "{place}: no command printed\n{}\nbut\n{stderr}",
                block.text
            );
        }
    }
}

/// Writes the scripts that share a setup, and one that runs them one after the other, each in a bash of its own.
fn write(setup: Option<&str>, scripts: &[Script], home: &Path) -> PathBuf {
    let ours = e2e::repository().join("tests/docs");
    let prelude = format!("source {}\n", ours.join("prelude.sh").display());
    let mut driver = prelude.clone()
        + "ip link set lo up\nip link add lan0 type veth peer name lan1\nip address add 192.168.1.42/24 dev lan0\n\
           ip link set lan0 up\nip link set lan1 up\nbefore_document() { :; }\n";
    if let Some(setup) = setup {
        writeln!(driver, "source {}", ours.join(setup).display()).unwrap();
    }
    for (number, script) in scripts.iter().enumerate() {
        let (folder, path) = (home.join(format!("shown-{number}")), script.path.display());
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("document.sh"), format!("{prelude}{}", script.text)).unwrap();
        writeln!(driver, "before_document {path}\nprintf '\\n\\002\\n' >&2").unwrap();
        writeln!(
            driver,
            "SHOWN={0} bash {0}/document.sh || {{ echo '{path} does not run' >&2; exit 1; }}",
            folder.display()
        )
        .unwrap();
    }
    let file = home.join("driver.sh");
    std::fs::write(&file, driver).unwrap();
    file
}

/// A home with the programs that are not Debian's.
fn home() -> TempDir {
    let home = tempfile::tempdir().unwrap();
    let bin = home.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink(program::couplet_path(), bin.join("couplet")).unwrap();
    certificate(&home.path().join("relay.example"));
    let jupyter = Path::new(program::python().get_program()).with_file_name("jupyter");
    std::os::unix::fs::symlink(&jupyter, bin.join("jupyter")).unwrap();
    std::os::unix::fs::symlink(jupyter.with_file_name("jupyter-lab"), bin.join("jupyter-lab")).unwrap();
    home
}

/// What an ACME client leaves in its folder.
fn certificate(folder: &Path) {
    let key = rcgen::KeyPair::generate().unwrap();
    let name = folder.file_name().unwrap().to_str().unwrap();
    let certificate = rcgen::CertificateParams::new([name.to_owned()]).unwrap().self_signed(&key).unwrap();
    std::fs::create_dir(folder).unwrap();
    std::fs::write(folder.join("fullchain.pem"), certificate.pem()).unwrap();
    std::fs::write(folder.join("privkey.pem"), key.serialize_pem()).unwrap();
    std::fs::set_permissions(folder, PermissionsExt::from_mode(0o700)).unwrap();
}

async fn run(setup: Option<&str>, scripts: &[Script]) {
    let home = home();
    let driver = write(setup, scripts, home.path());
    // A namespace of its own ends with all that runs in it, and needs no cleaning up.
    let mut command = program("unshare");
    command.args(["--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]);
    command.arg(program::path().join("bash")).arg(&driver).current_dir(home.path());
    command.env("PATH", format!("{}:{}", home.path().join("bin").display(), program::path().display()));
    for name in ["XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR"] {
        command.env_remove(name);
    }
    command.env("HOME", home.path()).env("USER", "root").env("NO_COLOR", "1");
    let mut running = Running::start(command);
    let status = running.wait(PATIENCE).await;
    running.stdout.end(PATIENCE).await;
    running.stderr.end(PATIENCE).await;
    assert!(status.success(), "not all documents run\n{}", running.written());
    let stderr = running.stderr.text();
    let mut parts = stderr.split('\u{2}').skip(1);
    for (number, script) in scripts.iter().enumerate() {
        script.check(&home.path().join(format!("shown-{number}")), parts.next().expect("every document was run"));
    }
}

#[tokio::test]
async fn the_documents_run() {
    let documents = documents();
    assert!(documents.len() > 50, "README.md and docs/: {documents:?}");
    let mut shared: BTreeMap<&str, Vec<Script>> = BTreeMap::new();
    for script in documents.iter().filter_map(|path| Script::of(path)) {
        match setup_of(&script.path, &script.text) {
            Some(setup) => shared.entry(setup).or_default().push(script),
            None => run(None, &[script]).await,
        }
    }
    assert_eq!(shared.len(), 5, "every setup has documents that need it");
    for (setup, scripts) in &shared {
        run(Some(setup), scripts).await;
    }
}

#[test]
fn no_block_passes_unnoticed() {
    for path in documents() {
        for block in blocks(&std::fs::read_to_string(&path).unwrap()) {
            let place = format!("{}:{}", path.display(), block.line);
            assert!(LANGUAGES.contains(&block.language.as_str()), "{place}: a block of {:?}", block.language);
            let runs_or_fails = block.attributes.iter().all(|attribute| attribute == "compile_fail");
            assert!(runs_or_fails, "{place}: {:?} hides the block from the tests", block.attributes);
            match block.language.as_str() {
                "text" => assert_eq!(hidden_command(&block.text, is_program), None, "{place}: `sh` would be run"),
                // The only document whose Rust is compiled.
                "rust" => assert!(path.ends_with("README.md"), "{place}: nothing compiles this"),
                "toml" => check_toml(&place, &block.text),
                "json" => drop(serde_json::from_str::<serde_json::Value>(&block.text).expect(&place)),
                _ => {}
            }
        }
    }
}

/// Programs that a document's commands may begin with: those that tests start, and those of administrators.
fn is_program(name: &str) -> bool {
    const OTHERS: [&str; 11] =
        ["couplet", "sudo", "apt", "apt-get", "systemctl", "journalctl", "docker", "rustup", "pip", "wget", "cd"];
    OTHERS.contains(&name) || program::named().iter().any(|named| named == name)
}

/// Every example of a setting is one that Couplet takes: names it must know, checked where the reader would find out.
fn check_toml(place: &str, text: &str) {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("config.toml");
    std::fs::write(&file, text).unwrap();
    let mut show = program::couplet();
    show.arg("config").arg("show").arg("--config").arg(&file).env("HOME", home.path());
    let output = show.output().unwrap();
    assert!(output.status.success(), "{place}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn every_code_has_its_page() {
    let folder = e2e::repository().join("docs/errors");
    let mut index = String::from(
        "# Error codes\n\nEvery error that Couplet answers with has a code that never changes its meaning. `couplet explain \
         CPL-1203` prints its page\noffline; in HTTP answers it is the member `code`.\n\nIn the pages' commands \
         `192.168.1.42` stands for your host, and `~/.local/state/couplet` is its state folder unless you named\nanother \
         one.\n\n| code | status | what happened \
         |\n| --- | --- | --- |\n",
    );
    for code in Code::ALL {
        let page = std::fs::read_to_string(folder.join(format!("{code}.md"))).unwrap_or_else(|_| panic!("{code}"));
        let lines: Vec<&str> = page.lines().collect();
        assert_eq!(lines[0], format!("# {code}: {}", code.title()));
        let section = |title| lines.iter().position(|line| *line == title).unwrap_or_else(|| panic!("{code}: {title}"));
        assert!(section("## What happened") + 1 < section("## What to do"), "{code}: in this order");
        assert!((8..=30).contains(&lines.len()), "{code}: {} lines", lines.len());
        // The command line shows these; no HTTP answer does.
        let status = match code.number() {
            1304 | 1400..1500 | 1506 | 1816 | 1825 | 1828 | 1829 => "—".to_owned(),
            _ => code.status().to_string(),
        };
        writeln!(index, "| [{code}]({code}.md) | {status} | {} |", code.title()).unwrap();
    }
    assert_eq!(
        std::fs::read_dir(&folder).unwrap().count(),
        Code::ALL.len() + 1,
        "one page for each code, and the index"
    );
    let readme = std::fs::read_to_string(folder.join("README.md")).unwrap();
    let (codes, symptoms) =
        readme.split_once("\n## When something does not work\n").expect("what one sees leads to a page");
    assert_eq!(codes, index, "docs/errors/README.md");
    let links: Vec<&str> = symptoms.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()).collect();
    assert!(links.len() >= 8 && links.iter().all(|link| folder.join(link).is_file()), "{links:?}");
}

#[tokio::test]
async fn a_document_that_is_wrong_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let document = async |text: &str| {
        let path = folder.path().join("document.md");
        std::fs::write(&path, text).unwrap();
        let ran = tokio::spawn(async move { run(None, &[Script::of(&path).unwrap()]).await });
        ran.await.is_ok()
    };
    assert!(
        document("```sh\nX=1\ntest -d \"$HOME\"\n```\ntext\n```console\n$ echo $X\n1\n$ ip -br a | wc -l\n…\n```\n")
            .await
    );
    assert!(!document("```sh\nfalse\ntrue\n```\n").await);
    assert!(!document("```sh\nperl -v\n```\n").await, "an unnamed program");
    assert!(!document("```console\n$ echo 2\n1\n```\n").await);
    // What a command in the background prints is looked for.
    assert!(document("```sh\n(echo a; echo b1) >&2 &\nwait\n```\n```text\na\nb…\n```\n").await);
    assert!(!document("```sh\n(echo a; echo b1) >&2 &\nwait\n```\n```text\na\nc\n```\n").await);
    // A pairing that no phone can make is no pairing.
    assert!(!document("```sh\ncouplet pair\n```\n").await, "no host runs");
}

/// The rows of the document's tables whose first cell begins so, cell by cell.
fn rows(document: &str, first: &str) -> Vec<Vec<String>> {
    let cells = |line: &str| line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    document.lines().filter(|line| line.starts_with(&format!("| `{first}"))).map(cells).collect()
}

/// `couplet config show` with a variable, in a home of its own: the exit code, standard output, standard error.
fn config_show(args: &[&str], variable: Option<(&str, &str)>) -> (i32, String, String) {
    let home = tempfile::tempdir().unwrap();
    let mut show = program::couplet();
    show.args(["config", "show"]).args(args).envs(variable).env("HOME", home.path());
    for name in ["XDG_CONFIG_HOME", "XDG_STATE_HOME"] {
        show.env_remove(name);
    }
    let output = show.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace(home.path().to_str().unwrap(), "~");
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn every_setting_has_its_line() {
    let document = std::fs::read_to_string(e2e::repository().join("docs/settings.md")).unwrap();
    let (_, shown, _) = config_show(&[], None);
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim().to_owned();
    let mut documented = Vec::new();
    for row in rows(&document, "").iter().filter(|row| row.len() >= 4) {
        let (key, default) = (row[0].trim_matches('`'), if row[0].contains("limits.") { &row[1] } else { &row[2] });
        documented.push(match default.as_str() {
            "the machine's name" => format!("{key} = {name:?}"),
            "`~/.local/state/couplet`" => format!("{key} = \"~/.local/state/couplet\""),
            default => format!("{key} = {}", default.trim_matches('`')),
        });
    }
    assert_eq!(documented, shown.lines().collect::<Vec<_>>(), "docs/settings.md");

    let help = String::from_utf8(program::couplet().args(["serve", "--help"]).output().unwrap().stdout).unwrap();
    for row in rows(&document, "").iter().filter(|row| row.len() == 4 && row[1].starts_with('`')) {
        assert!(help.contains(row[1].trim_matches('`')), "couplet serve has no {}", row[1]);
    }
}

#[test]
fn every_limit_has_the_bounds_that_are_documented() {
    let document = std::fs::read_to_string(e2e::repository().join("docs/settings.md")).unwrap();
    let limits = rows(&document, "limits.");
    assert!(limits.len() > 10, "{limits:?}");
    for row in limits {
        let (key, from, to) =
            (row[0].trim_matches('`'), row[2].parse::<u64>().unwrap(), row[3].parse::<u64>().unwrap());
        let variable = format!("COUPLET_{}", key.replace('.', "__").to_uppercase());
        for (value, fine) in [(from - 1, false), (from, true), (to, true), (to + 1, false)] {
            let (code, _, said) = config_show(&[], Some((&variable, &value.to_string())));
            assert_eq!(code, i32::from(!fine), "{key} = {value}: {said}");
            assert!(
                fine || said.contains("CPL-1405") && said.contains(&format!("{key} is {value}: write {from} to {to}"))
            );
        }
    }
}

#[test]
fn every_setting_of_a_relay_has_its_line() {
    let document = std::fs::read_to_string(e2e::repository().join("docs/relay-operators.md")).unwrap();
    let home = tempfile::tempdir().unwrap();
    let relay = |args: &[&str], variable: Option<(&str, &str)>| {
        let mut command = program::couplet();
        command.arg("relay").args(args).envs(variable).env("HOME", home.path());
        for name in ["XDG_CONFIG_HOME", "XDG_STATE_HOME"] {
            command.env_remove(name);
        }
        let output = command.output().unwrap();
        (output.status, String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let (_, shown) = relay(&["config", "show"], None);
    let shown = shown.replace(home.path().to_str().unwrap(), "~");
    let mut documented = Vec::new();
    for row in rows(&document, "").iter().filter(|row| row.len() >= 4) {
        let key = row[0].trim_matches('`');
        let default = if key.starts_with("limits.") { &row[1] } else { row[2].trim_matches('`') };
        let quoted = if key == "state_dir" { format!("\"{default}\"") } else { default.to_owned() };
        documented.push(format!("{key} = {quoted}"));
    }
    assert_eq!(documented, shown.lines().collect::<Vec<_>>(), "docs/relay-operators.md");
    let (_, help) = relay(&["serve", "--help"], None);
    for row in rows(&document, "").iter().filter(|row| row.len() == 4 && row[1].starts_with('`')) {
        assert!(help.contains(row[1].trim_matches('`')), "couplet relay serve has no {}", row[1]);
    }
    for row in rows(&document, "limits.") {
        let key = row[0].trim_matches('`');
        let (from, to) = (row[2].parse::<i64>().unwrap(), row[3].parse::<i64>().unwrap());
        let variable = format!("COUPLET_RELAY_{}", key.replace('.', "__").to_uppercase());
        for (value, fine) in [(from - 1, false), (from, true), (to, true), (to + 1, false)] {
            let (status, said) = relay(&["config", "show"], Some((&variable, &value.to_string())));
            assert_eq!(status.success(), fine, "{key} = {value}: {said}");
            let bounds = format!("{key} is {value}: write {from} to {to}");
            assert!(fine || value < 0 || said.contains("CPL-1405") && said.contains(&bounds), "{said}");
        }
    }
}

#[test]
fn every_dependency_says_why_it_is_here() {
    let read = |path: &str| std::fs::read_to_string(e2e::repository().join(path)).unwrap();
    let (manifest, reasons) = (read("Cargo.toml"), read("docs/dependencies.md"));
    let (_, rest) = manifest.split_once("[workspace.dependencies]\n").unwrap();
    let table = rest.split("\n[").next().unwrap();
    let names = table.lines().filter_map(|line| Some(line.split_once(" = ")?.0)).filter(|name| !name.starts_with('#'));
    for name in names.filter(|name| !name.starts_with("couplet-")) {
        assert!(reasons.contains(&format!("| `{name}` | ")), "{name} has no line in docs/dependencies.md");
    }
    for package in ["dashboard", "sdk"] {
        let description: serde_json::Value =
            serde_json::from_str(&read(&format!("packages/{package}/package.json"))).unwrap();
        let tables = ["dependencies", "devDependencies", "peerDependencies"].map(|table| &description[table]);
        let names: Vec<&String> =
            tables.into_iter().filter_map(serde_json::Value::as_object).flat_map(serde_json::Map::keys).collect();
        assert!(!names.is_empty(), "{package}");
        for name in names {
            let line = reasons.lines().any(|line| line.starts_with('|') && line.contains(&format!("`{name}`")));
            assert!(line, "{name} of packages/{package} has no line in docs/dependencies.md");
        }
    }
}
