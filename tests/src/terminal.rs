//! A real terminal: tmux, with a program in its only pane.

use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::picture::{self, Cell, Theme, cells};
use crate::{Running, program};

const CONFIGURATION: &str = "\
set -g status off
set -g default-terminal tmux-256color
set -g escape-time 0
";

/// Says how the program ended and keeps what it left on the screen. (tmux can tell too, but at times it loses the
/// exit code.)
const SCRIPT: &str = r#""$@"; printf '\n[ended with %s]' "$?"; exec sleep 3600"#;

/// A terminal of a certain size, and what runs in it. Dropping it ends both.
#[derive(Debug)]
pub struct Terminal {
    folder: TempDir,
}

impl Terminal {
    /// Starts a program in a terminal of so many columns and rows.
    pub async fn start(command: &Command, columns: u16, rows: u16) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("tmux.conf"), CONFIGURATION).unwrap();
        let terminal = Terminal { folder };
        let mut tmux = terminal.tmux();
        tmux.args(["new-session", "-d", "-x", &columns.to_string(), "-y", &rows.to_string()]);
        for (name, value) in command.get_envs() {
            if let Some(value) = value {
                tmux.arg("-e").arg(format!("{}={}", name.to_str().unwrap(), value.to_str().unwrap()));
            }
        }
        if let Some(folder) = command.get_current_dir() {
            tmux.arg("-c").arg(folder);
        }
        tmux.arg("--").arg(program("bash").get_program()).args(["--norc", "-c", SCRIPT, "bash"]);
        tmux.arg(command.get_program()).args(command.get_args());
        Running::start(tmux).succeeds(crate::host::PATIENCE).await;
        terminal
    }

    fn tmux(&self) -> Command {
        let mut tmux = program("tmux");
        tmux.arg("-u").arg("-S").arg(self.folder.path().join("socket"));
        tmux.arg("-f").arg(self.folder.path().join("tmux.conf"));
        tmux
    }

    async fn say(&self, args: &[&str]) -> String {
        let mut tmux = self.tmux();
        tmux.args(args);
        Running::start(tmux).succeeds(crate::host::PATIENCE).await
    }

    /// Presses keys, by tmux's names: `r`, `C-c`, `Enter`.
    pub async fn press(&self, keys: &[&str]) {
        self.say(&[&["send-keys"], keys].concat()).await;
    }

    /// Gives the window another size.
    pub async fn resize(&self, columns: u16, rows: u16) {
        self.say(&["resize-window", "-x", &columns.to_string(), "-y", &rows.to_string()]).await;
    }

    /// What is on the screen, with its colours.
    pub async fn screen(&self) -> Screen {
        Screen(self.say(&["capture-pane", "-p", "-e", "-N"]).await)
    }

    /// Waits until the screen shows what is wanted.
    pub async fn shows(&self, what: &str, timeout: Duration, wanted: impl Fn(&Screen) -> bool) -> Screen {
        let end = tokio::time::Instant::now() + timeout;
        loop {
            let screen = self.screen().await;
            if wanted(&screen) {
                return screen;
            }
            assert!(tokio::time::Instant::now() < end, "waited {timeout:?} in vain: {what}\n{}", screen.text());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits for the program's end; its exit code, and what it leaves on the screen.
    pub async fn end(&self, timeout: Duration) -> (i32, String) {
        const MARK: &str = "\n[ended with ";
        let screen =
            self.shows("the program's end", timeout, |screen| screen.has(MARK) && screen.has("]")).await.text();
        let (left, code) = screen.rsplit_once(MARK).unwrap();
        (code.trim_end_matches(']').parse().unwrap(), left.to_owned())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.tmux().arg("kill-server").output();
    }
}

/// One look at a terminal.
#[derive(Clone, Debug)]
pub struct Screen(String);

impl Screen {
    /// Each row's cells.
    #[must_use]
    pub fn cells(&self) -> Vec<Vec<Cell>> {
        cells(&self.0)
    }

    /// The characters alone, without spaces at the ends of lines.
    #[must_use]
    pub fn text(&self) -> String {
        let rows = self.cells().into_iter().map(|row| row.iter().map(|cell| cell.glyph).collect::<String>());
        let rows: Vec<String> = rows.map(|row| row.trim_end().to_owned()).collect();
        rows.join("\n").trim_end().to_owned()
    }

    /// Whether the characters include these.
    #[must_use]
    pub fn has(&self, text: &str) -> bool {
        self.text().contains(text)
    }

    /// Reads the QR code on it as a camera would, with a reader that is not ours.
    pub async fn scan(&self, theme: Theme) -> String {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("screen.pgm");
        picture::write(&file, &self.cells(), theme);
        let mut zbar = program("zbarimg");
        zbar.args(["--raw", "-q"]).arg(&file);
        Running::start(zbar).succeeds(crate::host::PATIENCE).await.trim().to_owned()
    }

    /// The text from `start` up to the next space, also where the terminal's edge broke it.
    #[must_use]
    pub fn word(&self, start: &str) -> Option<String> {
        let text: String = self.text();
        let from = &text[text.find(start)?..];
        Some(from.split_whitespace().next()?.to_owned())
    }
}
