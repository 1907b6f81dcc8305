//! A host's socket.

use std::sync::Arc;

use bytes::Bytes;
use couplet_protocol::RoomId;
use futures_util::{Sink, Stream};
use tokio::sync::oneshot;

use super::message::{FromHost, Hints, Refusal, Reply};
use super::seats::{Delivery, Inbox, Place, Seated};
use super::socket::{Over, Said, farewell, first, next, read, write};
use super::{Incoming, Outgoing, RoomsDoor};
use crate::account::Identity;
use crate::host::HostId;
use crate::quota::{Quota, pay};
use crate::room::Registration;

impl RoomsDoor {
    /// Serves a socket on which a host speaks, until it is over. The listener has established who the host is; what its
    /// rooms carry is charged to its quota.
    pub(crate) async fn serve_host<R, W>(&self, host: HostId, quota: Option<Arc<Quota>>, mut from: R, mut to: W)
    where
        R: Stream<Item = Incoming> + Unpin + Send,
        W: Sink<Outgoing> + Unpin + Send,
    {
        let _counted = self.sockets.token();
        let over = self.until_stopped(self.host_socket(host, quota, &mut from, &mut to)).await;
        farewell(&mut to, over).await;
    }

    async fn host_socket<R, W>(&self, host: HostId, quota: Option<Arc<Quota>>, from: &mut R, to: &mut W) -> Over
    where
        R: Stream<Item = Incoming> + Unpin + Send,
        W: Sink<Outgoing> + Unpin + Send,
    {
        let Registered { room, hints, account } = match self.registered(host, first(from).await, None).await {
            Ok(registered) => registered,
            Err(over) => return over,
        };
        let place = Place::new(quota.clone());
        let inbox = place.inbox.clone();
        let (keeps, mut mail, end) = place.split();
        let id = match self.seats.seat_host(host, room, keeps, hints) {
            Ok(id) => id,
            Err(refusal) => return refusal.into(),
        };
        let seat = Seated { seats: &self.seats, room, id };
        tokio::select! {
            // What the other end still sent goes out before the end is said.
            biased;
            over = write(&mut mail, to, Some(id)) => over,
            over = self.read_host(host, &seat, from, inbox, account, quota) => over,
            why = ended(end) => why.into(),
        }
    }

    /// Registers the room. Whose it is stays known for as long as the socket lives: a token need not be shown again.
    async fn registered(
        &self,
        host: HostId,
        said: Result<FromHost, Over>,
        known: Option<Identity>,
    ) -> Result<Registered, Over> {
        let FromHost::RegisterRoom { room_id: room, secret_hash, pairing_token_hash, account, hints } = said?;
        let account = self.identity(account.as_ref()).await?.or(known);
        let wanted = Registration {
            secret_hash: Some(secret_hash),
            pairing_token_hash,
            pairing_expires_at: None,
            public_key: hints.public_key.clone(),
            account: account.clone(),
        };
        self.registry.register_room(host, room, &wanted).await?;
        Ok(Registered { room, hints, account })
    }

    /// Confirms the room; then passes on what is binary, and takes new hashes silently, which is how a secret or a
    /// token is rotated under a running session.
    async fn read_host<R>(
        &self,
        host: HostId,
        seat: &Seated<'_>,
        from: &mut R,
        inbox: Inbox,
        account: Option<Identity>,
        quota: Option<Arc<Quota>>,
    ) -> Over
    where
        R: Stream<Item = Incoming> + Unpin + Send,
    {
        let registered = Reply::RoomRegistered { room_id: seat.room }.to_message();
        if inbox.send(Delivery::Own(registered)).await.is_err() {
            return Over::Gone;
        }
        // Only the room keeps the inbox open from here on.
        drop(inbox);
        loop {
            let done = match next(from).await {
                Ok(Said::Text(text)) => self.register_again(host, seat, &text, account.clone()).await,
                Ok(Said::Binary(bytes)) => {
                    self.pass_to_device(seat, bytes, quota.as_ref()).await;
                    Ok(())
                }
                Err(over) => Err(over),
            };
            if let Err(over) = done {
                return over;
            }
        }
    }

    async fn pass_to_device(&self, seat: &Seated<'_>, bytes: Bytes, quota: Option<&Arc<Quota>>) {
        let (device, len) = (self.seats.device_of(seat.room, seat.id), bytes.len());
        if let Some(device) = &device {
            // A device that leaves meanwhile needs it no more.
            let _ = device.inbox.send(Delivery::Bytes(seat.id, bytes)).await;
            self.metrics.bytes.increment(len as u64);
        }
        pay(len, [quota, device.as_ref().and_then(|device| device.quota.as_ref())]).await;
    }

    async fn register_again(
        &self,
        host: HostId,
        seat: &Seated<'_>,
        text: &str,
        account: Option<Identity>,
    ) -> Result<(), Over> {
        let said: FromHost = read(text)?;
        let FromHost::RegisterRoom { room_id, .. } = &said;
        if *room_id != seat.room {
            return Err(Refusal::Message.into());
        }
        let Registered { room, hints, .. } = self.registered(host, Ok(said), account).await?;
        self.seats.update_host(room, seat.id, hints);
        Ok(())
    }
}

/// A room as its host has registered it.
struct Registered {
    room: RoomId,
    hints: Hints,
    account: Option<Identity>,
}

/// Waits until the seat is taken away.
pub(super) async fn ended(end: oneshot::Receiver<Refusal>) -> Refusal {
    end.await.unwrap_or(Refusal::RoomClosed)
}
