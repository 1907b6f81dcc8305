//! Tells devices where else this host is: a laptop that joins another network, a server that gets another address.

use std::convert::Infallible;
use std::time::Duration;

use couplet_client::sealed::Link;
use couplet_protocol::message::Control;
use tokio::time::sleep;

use crate::pairing::Core;

/// How often an open session looks for new addresses. Without a session nobody looks.
const WATCH: Duration = Duration::from_secs(5);

/// Tells the device the host's addresses, now and whenever they change, for as long as it is polled. What the device
/// knows is not asked: it ignores what is no news (spec/protocol.md, 4).
pub(super) async fn tell(core: &Core, link: &Link) -> Infallible {
    let mut told = None;
    loop {
        match core.whereabouts().await {
            Ok(Some(now)) if told != Some(now.serial) => {
                let serial = now.serial;
                if link.say(Control::Endpoints { list: now.list, serial }) {
                    told = Some(serial);
                }
            }
            Ok(_) => {}
            Err(failure) => {
                tracing::debug!(target: "couplet::session", %failure, "a device is told the new addresses later");
            }
        }
        sleep(WATCH).await;
    }
}
