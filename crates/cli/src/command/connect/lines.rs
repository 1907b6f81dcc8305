//! What a person types, line by line, while other things go on.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use tokio::sync::mpsc;
use zeroize::Zeroizing;

/// How long a reader may outlive its owner.
const POLL: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
/// The longest line, in bytes; what is longer is cut.
const LINE_MAX: usize = 128;

/// Reads lines of stdin on a thread of its own, which can only be read in a blocking way. Dropping it stops the thread.
#[derive(Debug)]
pub(super) struct Lines {
    lines: mpsc::Receiver<Zeroizing<String>>,
    stop: Arc<AtomicBool>,
}

impl Lines {
    /// Begins to read.
    pub(super) fn read() -> io::Result<Lines> {
        let (sender, lines) = mpsc::channel(4);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        std::thread::Builder::new().name("lines".to_owned()).spawn(move || read(&stopped, &sender))?;
        Ok(Lines { lines, stop })
    }

    /// The next line; none when there will be no more. May be dropped and called anew without losing one.
    pub(super) async fn next(&mut self) -> Option<Zeroizing<String>> {
        self.lines.recv().await
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn read(stop: &AtomicBool, sender: &mpsc::Sender<Zeroizing<String>>) {
    let stdin = io::stdin();
    let mut line = Zeroizing::new(Vec::with_capacity(LINE_MAX));
    while !stop.load(Ordering::Relaxed) {
        let mut ready = [PollFd::new(&stdin, PollFlags::IN)];
        match rustix::event::poll(&mut ready, Some(&POLL)) {
            Ok(0) | Err(Errno::INTR) => continue,
            Ok(_) => {}
            Err(_) => return,
        }
        // One byte after the other: what is behind the line is not ours.
        let mut byte = Zeroizing::new([0]);
        match rustix::io::read(&stdin, &mut *byte) {
            Ok(1..) if byte[0] == b'\n' => {
                let text = Zeroizing::new(String::from_utf8_lossy(&line).into_owned());
                line.clear();
                if sender.blocking_send(text).is_err() {
                    return;
                }
            }
            Ok(1..) if line.len() < LINE_MAX => line.push(byte[0]),
            Ok(1..) | Err(Errno::INTR | Errno::AGAIN) => {}
            Ok(0) | Err(_) => return,
        }
    }
}
