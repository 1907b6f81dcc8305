//! The terminal while a picture is on it: raw mode, the alternate screen, keys; and all of it undone on every way out.
//!
//! The alternate screen is used because the picture is a credential: it leaves no copy in the scrollback.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::event::{self, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use crossterm::terminal::{
    Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use crossterm::{execute, queue};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use tokio::sync::mpsc;

/// How long a reader of keys may outlive its owner.
const POLL: Duration = Duration::from_millis(50);

/// A screen to draw on. Dropping it gives the terminal back.
#[derive(Debug)]
pub(crate) struct Screen(());

impl Screen {
    /// Takes the terminal.
    pub(crate) fn enter() -> io::Result<Screen> {
        enable_raw_mode()?;
        let screen = Screen(());
        execute!(io::stdout(), EnterAlternateScreen, Hide)?;
        // A panic prints before it unwinds; its words must not vanish with the alternate screen.
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            restore();
            before(info);
        }));
        Ok(screen)
    }

    /// Draws lines from the top and clears the rest.
    pub(crate) fn draw(&mut self, lines: &[String]) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        queue!(stdout, MoveTo(0, 0))?;
        for (at, line) in lines.iter().enumerate() {
            // No line break behind the last one: on the bottom row it would scroll.
            write!(stdout, "{}{line}", if at > 0 { "\r\n" } else { "" })?;
            queue!(stdout, Clear(ClearType::UntilNewLine))?;
        }
        queue!(stdout, Clear(ClearType::FromCursorDown))?;
        stdout.flush()
    }

    /// Columns and rows.
    pub(crate) fn size(&self) -> (usize, usize) {
        crossterm::terminal::size().map_or((80, 24), |(columns, rows)| (columns.into(), rows.into()))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

fn restore() {
    let _ = execute!(io::stdout(), Show, LeaveAlternateScreen);
    let _ = disable_raw_mode();
}

/// What a person did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// A letter, in lower case.
    Letter(char),
    /// The line is finished.
    Enter,
    /// The last letter was wrong.
    Back,
    /// Ctrl-C, or Escape.
    Quit,
    /// The window has another size.
    Resize,
}

/// Reads keys on a thread of its own, because the terminal can only be read in a blocking way. Dropping it stops the
/// thread.
#[derive(Debug)]
pub(crate) struct Keys {
    keys: mpsc::Receiver<Key>,
    stop: Arc<AtomicBool>,
    /// Closed when the thread ends.
    ended: std::sync::mpsc::Receiver<()>,
}

impl Keys {
    /// Begins to read; the terminal is in raw mode.
    pub(crate) fn read(_: &Screen) -> io::Result<Keys> {
        let (sender, keys) = mpsc::channel(16);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let (running, ended) = std::sync::mpsc::channel();
        let read = move || {
            let _running: std::sync::mpsc::Sender<()> = running;
            while !stopped.load(Ordering::Relaxed) {
                let key = match wait(POLL) {
                    Ok(()) => match event::poll(Duration::ZERO) {
                        Ok(true) => event::read().map(key),
                        Ok(false) => continue,
                        Err(error) => Err(error),
                    },
                    Err(error) => Err(error),
                };
                match key {
                    Ok(Some(key)) if sender.blocking_send(key).is_err() => return,
                    Ok(_) => {}
                    // The terminal is gone.
                    Err(_) => {
                        let _ = sender.blocking_send(Key::Quit);
                        return;
                    }
                }
            }
        };
        std::thread::Builder::new().name("keys".to_owned()).spawn(read)?;
        Ok(Keys { keys, stop, ended })
    }

    /// The next key. May be dropped and called anew without losing one.
    pub(crate) async fn next(&mut self) -> Key {
        self.keys.recv().await.unwrap_or(Key::Quit)
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.keys.close();
        // Not for ever: crossterm's reader never returns from a terminal that goes away under it.
        let _ = self.ended.recv_timeout(4 * POLL);
    }
}

/// Waits until there is something to read, or the time is up.
///
/// # Errors
/// The terminal is gone. Crossterm does not notice that: it reads the end of the file for ever.
fn wait(timeout: Duration) -> io::Result<()> {
    let stdin = io::stdin();
    let mut stdin = [PollFd::new(&stdin, PollFlags::IN)];
    match rustix::event::poll(&mut stdin, Some(&Timespec::try_from(timeout).map_err(io::Error::other)?)) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    match stdin[0].revents().intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) {
        true => Err(io::ErrorKind::UnexpectedEof.into()),
        false => Ok(()),
    }
}

fn key(event: event::Event) -> Option<Key> {
    match event {
        event::Event::Resize(..) => Some(Key::Resize),
        event::Event::Key(KeyEvent { code, modifiers, kind: KeyEventKind::Press | KeyEventKind::Repeat, .. }) => {
            match code {
                KeyCode::Char('c' | 'd') if modifiers.contains(KeyModifiers::CONTROL) => Some(Key::Quit),
                KeyCode::Esc => Some(Key::Quit),
                KeyCode::Enter => Some(Key::Enter),
                KeyCode::Backspace => Some(Key::Back),
                KeyCode::Char(letter) if !modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT) => {
                    Some(Key::Letter(letter.to_ascii_lowercase()))
                }
                _ => None,
            }
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn press(code: KeyCode, modifiers: KeyModifiers) -> Option<Key> {
        key(event::Event::Key(KeyEvent::new(code, modifiers)))
    }

    #[test]
    fn letters_are_read_in_either_case_and_ctrl_c_quits() {
        assert_eq!(press(KeyCode::Char('R'), KeyModifiers::SHIFT), Some(Key::Letter('r')));
        assert_eq!(press(KeyCode::Char('c'), KeyModifiers::CONTROL), Some(Key::Quit));
        assert_eq!(press(KeyCode::Char('c'), KeyModifiers::NONE), Some(Key::Letter('c')));
        assert_eq!(press(KeyCode::Char('r'), KeyModifiers::CONTROL), None);
        assert_eq!(press(KeyCode::Char('7'), KeyModifiers::NONE), Some(Key::Letter('7')));
        assert_eq!(press(KeyCode::Enter, KeyModifiers::NONE), Some(Key::Enter));
        assert_eq!(press(KeyCode::Backspace, KeyModifiers::NONE), Some(Key::Back));
        assert_eq!(key(event::Event::Resize(1, 1)), Some(Key::Resize));
    }
}
