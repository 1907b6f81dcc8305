//! Data goes to stdout, messages to stderr, and nothing that came over the network moves the cursor.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

/// Writes one line of data to stdout and flushes, so that a reader of a pipe has it at once.
pub(crate) fn line(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}")?;
    stdout.flush()
}

/// Writes raw bytes of data to stdout.
pub(crate) fn bytes(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()
}

/// Writes a value as one line of JSON to stdout.
pub(crate) fn json(value: &impl Serialize) -> io::Result<()> {
    line(&serde_json::to_string(value)?)
}

/// An argument as a shell takes it.
pub(crate) fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-+:@%=,~".contains(c);
    if text.chars().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

/// Writes a message for people to stderr. That nobody may be there to read it is no error.
pub(crate) fn message(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Writes a question to stderr and leaves the cursor behind it.
pub(crate) fn question(text: &str) {
    let mut stderr = io::stderr().lock();
    let _ = write!(stderr, "{text} ");
    let _ = stderr.flush();
}

/// Whether a person sits at both ends: keys can be read and a picture can be drawn.
pub(crate) fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// Whether a question on stderr can be answered on stdin.
pub(crate) fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Whether messages go to a terminal.
pub(crate) fn is_seen() -> bool {
    io::stderr().is_terminal()
}

/// Whether messages may be coloured: stderr is a terminal and `NO_COLOR` is not set.
pub(crate) fn colour() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Text of others, without the characters that could steer a terminal.
pub(crate) fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

/// Asks a yes-or-no question; anything but yes is no.
pub(crate) fn confirm(text: &str) -> io::Result<bool> {
    question(&format!("{text} [y/N]"));
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// Asks for a line of text.
pub(crate) fn ask(text: &str) -> io::Result<String> {
    question(text);
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(answer.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_can_be_pasted_into_a_shell() {
        assert_eq!(quoted("/home/a/.local/state"), "/home/a/.local/state");
        assert_eq!(quoted("/tmp/Anna's state"), r"'/tmp/Anna'\''s state'");
    }

    #[test]
    fn what_others_wrote_cannot_steer_the_terminal() {
        assert_eq!(plain("a\x1b[2Jb\r\nc\u{9b}d"), "a[2Jbcd");
        assert_eq!(plain("寝室 👩‍👩‍👧"), "寝室 👩‍👩‍👧");
    }
}
