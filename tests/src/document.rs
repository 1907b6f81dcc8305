//! Documents, taken apart: their fenced blocks, the commands in them, and what those print.

/// A fenced block.
#[derive(Debug)]
pub struct Block {
    /// The first word after the fence: `sh`.
    pub language: String,
    /// The words after that.
    pub attributes: Vec<String>,
    /// The line of its fence.
    pub line: usize,
    /// What is in it.
    pub text: String,
}

/// The fenced blocks of a document.
#[must_use]
pub fn blocks(document: &str) -> Vec<Block> {
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
                block.text.push_str(line);
                block.text.push('\n');
                Some(block)
            }
        };
    }
    assert!(open.is_none(), "a block is not closed");
    blocks
}

/// One command of a `console` block and what it should print.
#[derive(Debug, PartialEq)]
pub struct Shown {
    /// After `$ `, with its continuations after `> `.
    pub command: String,
    /// The lines below it, without empty ones at the end.
    pub output: Vec<String>,
}

/// The commands of a `console` block.
#[must_use]
pub fn shown(text: &str) -> Vec<Shown> {
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
    for shown in &mut all {
        let end = shown.output.iter().rposition(|line| !line.is_empty()).map_or(0, |at| at + 1);
        shown.output.truncate(end);
    }
    all
}

/// Whether the line is as shown, `…` standing for anything.
#[must_use]
pub fn line_matches(shown: &str, line: &str) -> bool {
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

/// Whether the lines are as shown. A line that is only `…` stands for any number of lines.
#[must_use]
pub fn output_matches(shown: &[String], lines: &[&str]) -> bool {
    match (shown.split_first(), lines.split_first()) {
        (None, None) => true,
        (Some((any, rest)), _) if any.trim() == "…" => {
            output_matches(rest, lines) || (!lines.is_empty() && output_matches(shown, &lines[1..]))
        }
        (Some((first, rest)), Some((line, lines))) => line_matches(first, line) && output_matches(rest, lines),
        _ => false,
    }
}

/// The first line of a `text` block that is a command: it would be run by no test.
///
/// `program` tells the names of programs.
pub fn hidden_command(text: &str, program: impl Fn(&str) -> bool) -> Option<&str> {
    text.lines().find(|line| {
        let line = line.trim_start();
        let prompt = line.starts_with("$ ") || line.starts_with("# ") || line.starts_with("% ");
        // Settings may stand before the program: `A=b program`.
        let mut words = line.split_whitespace().skip_while(|word| word.contains('='));
        prompt || words.next().is_some_and(&program)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_have_their_language_attributes_and_place() {
        let found = blocks("a\n```sh\nx\n\ny\n```\n```rust,no_run\n```\n");
        let found: Vec<_> = found.iter().map(|b| (b.language.as_str(), b.attributes.len(), b.line)).collect();
        assert_eq!(found, [("sh", 0, 2), ("rust", 1, 7)]);
    }

    #[test]
    fn commands_are_told_from_what_they_print() {
        let found = shown("$ one\nout\n\n$ two \\\n> more\n");
        assert_eq!((found[0].command.as_str(), found[0].output.as_slice()), ("one", ["out".to_owned()].as_slice()));
        assert_eq!((found[1].command.as_str(), found[1].output.len()), ("two \\\nmore", 0));
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

    #[test]
    fn commands_that_are_called_text_are_found() {
        let program = |name: &str| ["couplet", "curl", "sudo"].contains(&name);
        for (text, command) in [
            ("couplet pair\n", Some("couplet pair")),
            ("it says\n  curl -v http://127.0.0.1\n", Some("  curl -v http://127.0.0.1")),
            ("sudo anything", Some("sudo anything")),
            ("A=1 B=2 couplet serve", Some("A=1 B=2 couplet serve")),
            ("$ unknown --option", Some("$ unknown --option")),
            ("  pairing  http://192.168.1.42:7878\n\nNext, in another terminal: couplet pair\n", None),
            ("protocol  ←  host  ←  cli\ncouplet-host\na = b\n", None),
        ] {
            assert_eq!(hidden_command(text, program), command, "{text}");
        }
    }
}
