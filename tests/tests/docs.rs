//! What the documentation says is true: its commands run, every error code has its page.
//!
//! Each document's `sh` blocks run in order in one bash, in a network namespace of its own, so that a document may use the
//! real ports. A `console` block shows commands after `$ ` and what they print; `…` stands for what varies. `text` is
//! for what cannot be run: placeholders, an owner's own names. No other language passes unnoticed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use couplet_protocol::Code;
use e2e::{Running, program};

/// What a fence may be named. `rust` is compiled by `cargo test --doc`; the rest is read by other tests, or shown.
const LANGUAGES: [&str; 10] = ["sh", "console", "rust", "toml", "json", "nginx", "caddyfile", "text", "html", "sql"];

/// Run by tests of their own, since they build or take this very suite.
const RUN_ELSEWHERE: [&str; 2] = ["make test", "make demo"];

const PATIENCE: Duration = Duration::from_secs(240);

struct Block {
    language: String,
    attributes: Vec<String>,
    line: usize,
    text: String,
}

/// The fenced blocks of a document.
fn blocks(document: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut open: Option<Block> = None;
    for (number, line) in document.lines().enumerate() {
        let fence = line.trim_start().strip_prefix("```");
        open = match (open, fence) {
            (None, Some(info)) => {
                let mut words = info.trim().split([',', ' ']).map(str::to_owned);
                let language = words.next().unwrap_or_default();
                Some(Block { language, attributes: words.collect(), line: number + 1, text: String::new() })
            }
            (None, None) => None,
            (Some(block), Some(_)) => {
                blocks.push(block);
                None
            }
            (Some(mut block), None) => {
                writeln!(block.text, "{line}").unwrap();
                Some(block)
            }
        };
    }
    assert!(open.is_none(), "a block is not closed");
    blocks
}

/// README.md and everything in docs/.
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
    documents.extend(Some(e2e::repository().join("README.md")).filter(|readme| readme.is_file()));
    documents.sort();
    documents
}

/// One command of a `console` block and what it should print.
#[derive(Debug, PartialEq)]
struct Shown {
    command: String,
    output: Vec<String>,
}

fn shown(text: &str) -> Vec<Shown> {
    let mut all: Vec<Shown> = Vec::new();
    for line in text.lines() {
        match (line.strip_prefix("$ "), line.strip_prefix("> "), all.last_mut()) {
            (Some(command), _, _) => all.push(Shown { command: command.to_owned(), output: Vec::new() }),
            (None, Some(more), Some(last)) if last.output.is_empty() => {
                last.command.push('\n');
                last.command.push_str(more);
            }
            (None, _, Some(last)) => last.output.push(line.to_owned()),
            (None, _, None) => panic!("a console block starts with `$ `: {line}"),
        }
    }
    all
}

/// Whether the line is as shown, `…` standing for anything. A line that is only `…` stands for any number of lines.
fn line_matches(shown: &str, line: &str) -> bool {
    let parts: Vec<&str> = shown.split('…').collect();
    let [first, middle @ .., last] = parts.as_slice() else { return shown == line };
    let Some(mut rest) = line.strip_prefix(first) else { return false };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

fn output_matches(shown: &[String], lines: &[&str]) -> bool {
    match (shown.split_first(), lines.split_first()) {
        (None, None) => true,
        (Some((any, rest)), _) if any.trim() == "…" => {
            output_matches(rest, lines) || (!lines.is_empty() && output_matches(shown, &lines[1..]))
        }
        (Some((first, rest)), Some((line, lines))) => line_matches(first, line) && output_matches(rest, lines),
        _ => false,
    }
}

const MARK: &str = "\u{1}shown ";

/// The script of one document. Console commands print a mark before their output, which goes through a file so that a
/// server in the background keeps no pipe.
fn script(document: &str) -> (String, Vec<(usize, Shown)>) {
    let mut script = String::from(
        "set -euo pipefail\nip link set lo up\nip link add lan0 type veth peer name lan1\n\
         ip address add 192.168.1.42/24 dev lan0\nip link set lan0 up\nip link set lan1 up\n",
    );
    let mut expected = Vec::new();
    for block in blocks(document) {
        match block.language.as_str() {
            "sh" => {
                let run = block.text.lines().filter(|line| !RUN_ELSEWHERE.contains(&line.trim()));
                writeln!(script, "{}", run.collect::<Vec<_>>().join("\n")).unwrap();
            }
            "console" => {
                for shown in shown(&block.text) {
                    writeln!(script, "{{\n{}\n}} >shown.out 2>&1 || {{ cat shown.out; exit 1; }}", shown.command)
                        .unwrap();
                    writeln!(script, "printf '\\n\\001shown {}\\n'; cat shown.out", expected.len()).unwrap();
                    expected.push((block.line, shown));
                }
                writeln!(script, "printf '\\n\\001shown end\\n'").unwrap();
            }
            _ => {}
        }
    }
    (script, expected)
}

async fn run(path: &Path) {
    let document = std::fs::read_to_string(path).unwrap();
    let (script, expected) = script(&document);
    if !blocks(&document).iter().any(|block| matches!(block.language.as_str(), "sh" | "console")) {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let bin = home.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink(program::couplet_path(), bin.join("couplet")).unwrap();
    let jupyter = Path::new(program::python().get_program()).with_file_name("jupyter");
    std::os::unix::fs::symlink(&jupyter, bin.join("jupyter")).unwrap();
    std::os::unix::fs::symlink(jupyter.with_file_name("jupyter-lab"), bin.join("jupyter-lab")).unwrap();
    let file = home.path().join("document.sh");
    std::fs::write(&file, script).unwrap();

    // A namespace of its own ends with all that runs in it, and needs no cleaning up.
    let mut command = program("unshare");
    command.args(["--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]);
    command.arg(program::path().join("bash")).arg(&file).current_dir(home.path());
    command.env("PATH", format!("{}:{}", bin.display(), program::path().display()));
    for name in ["XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR"] {
        command.env_remove(name);
    }
    command.env("HOME", home.path()).env("NO_COLOR", "1");
    let mut running = Running::start(command);
    let status = running.wait(PATIENCE).await;
    running.stdout.end(PATIENCE).await;
    assert!(status.success(), "{} does not run\n{}", path.display(), running.written());

    let printed = running.stdout.text();
    for (number, (line, shown)) in expected.iter().enumerate() {
        let mark = format!("{MARK}{number}\n");
        let (_, after) = printed.split_once(&mark).expect("every command was run");
        let lines: Vec<&str> = after.split('\u{1}').next().unwrap().trim_end().lines().collect();
        let output = shown.output.iter().rev().skip_while(|line| line.is_empty()).count();
        assert!(
            output_matches(&shown.output[..output], &lines),
            "{}:{line}: {}\nshown:\n{}\nprinted:\n{}",
            path.display(),
            shown.command,
            shown.output.join("\n"),
            lines.join("\n")
        );
    }
}

#[tokio::test]
async fn the_documents_run() {
    let documents = documents();
    assert!(documents.len() > 50, "README.md and docs/: {documents:?}");
    for document in documents {
        run(&document).await;
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
                "toml" => check_toml(&place, &block.text),
                "json" => drop(serde_json::from_str::<serde_json::Value>(&block.text).expect(&place)),
                _ => {}
            }
        }
    }
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
         CPL-1203` prints its page\noffline; in HTTP answers it is the member `code`.\n\n| code | status | what happened \
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
            1304 | 1400..1500 => "—".to_owned(),
            _ => code.status().to_string(),
        };
        writeln!(index, "| [{code}]({code}.md) | {status} | {} |", code.title()).unwrap();
    }
    assert_eq!(
        std::fs::read_dir(&folder).unwrap().count(),
        Code::ALL.len() + 1,
        "one page for each code, and the index"
    );
    assert_eq!(std::fs::read_to_string(folder.join("README.md")).unwrap(), index, "docs/errors/README.md");
}

#[test]
fn what_varies_is_left_out_of_the_comparison() {
    assert!(line_matches("id …, at …Z", "id 3f2a, at 2026-01-10T12:00:00Z"));
    assert!(!line_matches("id …, at …Z", "id 3f2a, at noon"));
    assert!(line_matches("plain", "plain") && !line_matches("plain", "plainer"));
    let shown: Vec<String> = ["first", "…", "last"].map(str::to_owned).into();
    assert!(output_matches(&shown, &["first", "last"]) && output_matches(&shown, &["first", "a", "b", "last"]));
    assert!(!output_matches(&shown, &["first", "a"]) && !output_matches(&shown[..1], &["first", "a"]));
}

#[tokio::test]
async fn a_document_that_is_wrong_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let document = async |text: &str| {
        let path = folder.path().join("document.md");
        std::fs::write(&path, text).unwrap();
        let ran = tokio::spawn(async move { run(&path).await });
        ran.await.is_ok()
    };
    assert!(
        document("```sh\nX=1\ntest -d \"$HOME\"\n```\ntext\n```console\n$ echo $X\n1\n$ ip -br a | wc -l\n…\n```\n")
            .await
    );
    assert!(!document("```sh\nfalse\ntrue\n```\n").await);
    assert!(!document("```sh\nperl -v\n```\n").await, "an unnamed program");
    assert!(!document("```console\n$ echo 2\n1\n```\n").await);
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
}
