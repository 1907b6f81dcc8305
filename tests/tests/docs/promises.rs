//! `spec/promises.md` is true: every line names a test that exists and runs, or says that it is planned. So is
//! `spec/threat-model.md`: every attack has a test, or says in bold that there is no defence.

use std::collections::BTreeMap;

/// The lines that there are. Promises are added, not dropped.
const FLOOR: usize = 278;

/// The lines that a test shows. What is kept stays kept.
const SHOWN_FLOOR: usize = 272;

/// The attacks that the threat model speaks of.
const ATTACKS_FLOOR: usize = 73;

struct Row {
    promise: String,
    source: String,
    shown_by: String,
}

/// The rows of the tables, without their heads.
fn rows(document: &str) -> Vec<Row> {
    let is_row = |line: &&str| line.starts_with('|') && !line.starts_with("| promise |") && !line.starts_with("| ---");
    let read = |line: &str| {
        let cells: Vec<String> = line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
        assert_eq!(cells.len(), 4, "four cells: {line}");
        let [promise, source, shown_by] = [0, 1, 2].map(|cell| cells[cell].clone());
        Row { promise, source, shown_by }
    };
    document.lines().filter(is_row).map(read).collect()
}

/// What is wrong with a row, if anything.
fn complaint(row: &Row, source_of: &mut impl FnMut(&str) -> Option<String>) -> Option<String> {
    if row.promise.is_empty() || row.source.is_empty() {
        return Some("the promise or its source is missing".to_owned());
    }
    if row.shown_by == "planned" {
        return None;
    }
    complaint_of_tests(&row.shown_by, source_of)
}

/// What is wrong with a list of tests, each `` `file::name` ``, if anything. A test of the SDK or of the phone's client is
/// named as its file names it, commas and all.
fn complaint_of_tests(tests: &str, source_of: &mut impl FnMut(&str) -> Option<String>) -> Option<String> {
    let Some(inside) = tests.strip_prefix('`').and_then(|tests| tests.strip_suffix('`')) else {
        return Some(format!("neither `planned` nor a test: {tests:?}"));
    };
    inside.split("`, `").find_map(|test| {
        let Some((file, name)) = test.split_once("::").filter(|_| !test.contains('`')) else {
            return Some(format!("neither `planned` nor a test: {test:?}"));
        };
        let is_run = ["packages/sdk/test/", "packages/phone/test/"].iter().any(|folder| file.starts_with(folder));
        let state = if is_run && file.ends_with(".test.ts") { state_in_script } else { state };
        match source_of(file).as_deref().map(|source| state(source, name)) {
            Some(State::Runs) => None,
            Some(State::Ignored) => Some(format!("{test} is ignored")),
            Some(State::Absent) => Some(format!("{test} does not exist")),
            None => Some(format!("{file} does not exist")),
        }
    })
}

#[derive(Debug, PartialEq)]
enum State {
    Runs,
    Ignored,
    Absent,
}

/// Whether the file has a test of this name that runs.
fn state(source: &str, name: &str) -> State {
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    let defines = |line: &str| {
        let rest = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
        rest.and_then(|rest| rest.strip_prefix(name)).is_some_and(|rest| rest.starts_with('('))
    };
    let Some(at) = lines.iter().position(|line| defines(line)) else { return State::Absent };
    let above = lines[..at].iter().rev().take_while(|line| !line.is_empty() && !line.ends_with(['}', '{', ';']));
    let attributes: Vec<&str> = above.copied().filter(|line| line.starts_with("#[")).collect();
    let has = |start: &str| attributes.iter().any(|attribute| attribute.starts_with(start));
    match has("#[test]") || has("#[tokio::test") {
        true if attributes.iter().any(|attribute| attribute.contains("ignore")) => State::Ignored,
        true => State::Runs,
        false => State::Absent,
    }
}

/// The same for a file of tests each of which `scripts/sdk` or `scripts/phone --test` runs.
fn state_in_script(source: &str, name: &str) -> State {
    let defines = |line: &&str| {
        ["test", "it"].iter().any(|call| {
            let rest = line.strip_prefix(call).map(|rest| rest.trim_start_matches(".skip").trim_start_matches(".todo"));
            rest.is_some_and(|rest| rest.starts_with(&format!("(\"{name}\", ")))
        })
    };
    match source.lines().map(str::trim_start).find(defines) {
        None => State::Absent,
        Some(line) if [".skip(", ".todo(", "skip:", "todo:"].iter().any(|word| line.contains(word)) => State::Ignored,
        Some(_) => State::Runs,
    }
}

/// A file that no `mod` names is not compiled, and its tests would count without ever running.
#[test]
fn every_file_of_tests_belongs_to_a_program() {
    for folder in ["tests/tests", "crates/client/tests", "crates/relay/tests"] {
        let programs = std::fs::read_dir(e2e::repository().join(folder)).unwrap().map(|entry| entry.unwrap().path());
        for program in programs {
            let main = std::fs::read_to_string(program.join("main.rs")).unwrap();
            for entry in std::fs::read_dir(&program).unwrap() {
                let path = entry.unwrap().path();
                let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
                let is_known = name == "main" || main.contains(&format!("mod {name};"));
                assert!(is_known, "{} is in no program: name it in main.rs", path.display());
            }
        }
    }
}

#[test]
fn every_promise_is_shown_or_planned() {
    let document = std::fs::read_to_string(e2e::repository().join("spec/promises.md")).unwrap();
    let rows = rows(&document);
    let mut files = BTreeMap::new();
    let mut source_of = |file: &str| {
        let read = || std::fs::read_to_string(e2e::repository().join(file)).ok();
        files.entry(file.to_owned()).or_insert_with(read).clone()
    };
    let complaints: Vec<String> = rows
        .iter()
        .filter_map(|row| complaint(row, &mut source_of).map(|why| format!("{} ({}): {why}", row.promise, row.source)))
        .collect();
    assert!(complaints.is_empty(), "{} of {}:\n{}", complaints.len(), rows.len(), complaints.join("\n"));

    let shown = rows.iter().filter(|row| row.shown_by != "planned").count();
    assert!(rows.len() >= FLOOR, "only {} promises are left of {FLOOR}", rows.len());
    assert!(shown >= SHOWN_FLOOR, "only {shown} promises are shown, of {SHOWN_FLOOR} before");
}

/// The attacks in a threat model whose tests are missing, and how many attacks there are.
fn undefended(document: &str, source_of: &mut impl FnMut(&str) -> Option<String>) -> (Vec<String>, usize) {
    let is_row = |line: &&str| line.starts_with("| ") && !line.starts_with("| attack |") && !line.starts_with("| ---");
    let rows: Vec<&str> = document.lines().filter(is_row).collect();
    let complaints = rows.iter().filter_map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        match cells[..] {
            [attack, defence, ""] if !defence.starts_with("**not defended**") => Some(format!("{attack}: no test")),
            [_, _, ""] => None,
            [attack, _, tests] => complaint_of_tests(tests, source_of).map(|why| format!("{attack}: {why}")),
            _ => Some(format!("not three cells: {row}")),
        }
    });
    (complaints.collect(), rows.len())
}

#[test]
fn every_attack_meets_a_test_or_is_said_to_meet_no_defence() {
    let document = std::fs::read_to_string(e2e::repository().join("spec/threat-model.md")).unwrap();
    let mut source_of = |file: &str| std::fs::read_to_string(e2e::repository().join(file)).ok();
    let (complaints, attacks) = undefended(&document, &mut source_of);
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    assert!(attacks >= ATTACKS_FLOOR, "only {attacks} attacks are left of {ATTACKS_FLOOR}");

    let table = "| attack | defence | test |\n| --- | --- | --- |\n| a | b | `x.rs::there` |\n| c | **not defended**: d | |\n\
                 | e | f | |\n| g | h | `x.rs::gone` |\n| i | j | by its nature |\n| k | `x.rs::there` |";
    let mut source_of = |file: &str| (file == "x.rs").then(|| "#[test]\nfn there() {}".to_owned());
    let (complaints, attacks) = undefended(table, &mut source_of);
    assert_eq!((complaints.len(), attacks), (4, 6), "{complaints:?}");
}

#[test]
fn no_promise_stands_twice() {
    let document = std::fs::read_to_string(e2e::repository().join("spec/promises.md")).unwrap();
    let mut seen = BTreeMap::new();
    for part in document.split("\n## ") {
        seen.clear();
        for row in rows(part) {
            assert_eq!(seen.insert(row.promise.clone(), row.source), None, "{}", row.promise);
        }
    }
}

#[test]
fn a_test_counts_only_when_it_runs() {
    let source = "
        /// Says why.
        #[test]
        fn plain() {}

        #[tokio::test(flavor = \"multi_thread\")]
        async fn with_runtime() {}

        #[test]
        #[ignore = \"slow\"]
        fn ignored() {}

        #[cfg_attr(not(feature = \"x\"), ignore)]
        #[test]
        fn ignored_at_times() {}

        #[test]
        fn other() {}
        fn helper() {}
    ";
    let found = ["plain", "with_runtime", "ignored", "ignored_at_times", "helper", "missing", "plai"];
    let found = found.map(|name| state(source, name));
    use State::{Absent, Ignored, Runs};
    assert_eq!(found, [Runs, Runs, Ignored, Ignored, Absent, Absent, Absent]);
}

#[test]
fn a_test_in_typescript_counts_only_when_it_runs() {
    let source = "test(\"a, and b\", async () => {});\ntest.skip(\"c\", () => {});\ntest(\"d\", { skip: true }, () => {});\n\
                  // test(\"e\", () => {});\ntest(\"ab\", () => {});\n\
                  describe(\"f\", () => {\n  it(\"g\", () => {});\n  it.skip(\"h\", () => {});\n});\n";
    let found = ["a, and b", "ab", "g", "c", "d", "h", "e", "a", "f"].map(|name| state_in_script(source, name));
    use State::{Absent, Ignored, Runs};
    assert_eq!(found, [Runs, Runs, Runs, Ignored, Ignored, Ignored, Absent, Absent, Absent]);
    let mut source_of = |_: &str| Some(source.to_owned());
    let mut complain = |tests: &str| complaint_of_tests(tests, &mut source_of).is_some();
    assert!(!complain("`packages/sdk/test/x.test.ts::a, and b`, `packages/phone/test/x.test.ts::g`"));
    // Nothing runs what stands elsewhere, or is named otherwise.
    assert!(complain("`packages/sdk/test/x.ts::ab`") && complain("`packages/dashboard/x.test.ts::ab`"));
    assert!(complain("`packages/sdk/test/x.test.ts::ab`, `packages/sdk/test/x.test.ts::c`"));
    assert!(complain("`packages/sdk/test/x.test.ts::ab` `packages/sdk/test/x.test.ts::ab`"));
}

#[test]
fn rows_that_show_nothing_are_found() {
    let table = "| promise | source | shown by | note |\n| --- | --- | --- | --- |\n\
                 | a | A | planned | |\n| b | A | | |\n| c | A | `x.rs::gone` | |\n| | A | planned | |\n| d | A | soon | |\n\
                 | e | A | `x.rs::there`, `y.rs::there` | |\n| f | A | `x.rs::there` | note |";
    let mut source_of = |file: &str| (file == "x.rs").then(|| "#[test]\nfn there() {}".to_owned());
    let wrong: Vec<bool> = rows(table).iter().map(|row| complaint(row, &mut source_of).is_some()).collect();
    assert_eq!(wrong, [false, true, true, true, true, true, false]);
}
