//! What the kernel has taken for sending and not sent yet. As long as it is there it can be called back: closing with a
//! linger time of zero throws it away.

use std::io;
use std::task::{Context, Poll, ready};

use rustix::event::{PollFd, PollFlags, Timespec};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;

/// What the kernel holds of what a client was sent and has not taken, in bytes. It is what a client may still get
/// that the host has let go of, and no more than a fast network sends while a program comes to refill it.
pub(crate) const UNSENT_MAX: u32 = 128 * 1024;

/// With this much unsent at most, a socket is writable when everything is sent, and only then.
const NONE: u32 = 1;

/// Makes the socket writable again only when all is sent.
pub(crate) fn wait_for_all(stream: &TcpStream) {
    set_max(stream, NONE);
}

fn set_max(stream: &TcpStream, max: u32) {
    // It can fail only on a socket that is broken, and then nothing will be sent.
    let _ = SockRef::from(stream).set_tcp_notsent_lowat(max);
}

/// Whether the kernel holds something that it has not sent once.
pub(crate) fn has_unsent(stream: &TcpStream) -> bool {
    set_max(stream, NONE);
    let unsent = !is_writable(stream);
    set_max(stream, UNSENT_MAX);
    unsent
}

/// Ready when the kernel has sent everything, or never will; after [`wait_for_all`].
pub(crate) fn poll_sent(stream: &TcpStream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    loop {
        ready!(stream.poll_write_ready(cx))?;
        let looked = stream.try_io(Interest::WRITABLE, || match is_writable(stream) {
            true => Ok(()),
            false => Err(io::ErrorKind::WouldBlock.into()),
        });
        match looked {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            sent => return Poll::Ready(sent),
        }
    }
}

fn is_writable(stream: &TcpStream) -> bool {
    let mut stream = [PollFd::new(stream, PollFlags::OUT)];
    // Broken counts as writable: there is nothing left to wait for.
    !matches!(rustix::event::poll(&mut stream, Some(&Timespec::default())), Ok(0))
}
