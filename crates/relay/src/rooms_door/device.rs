//! A device's socket.

use std::net::IpAddr;

use couplet_protocol::RoomId;
use futures_util::{Sink, Stream};

use super::host::ended;
use super::message::{FromDevice, Hints, Refusal, Reply, credential};
use super::seats::{Delivery, Inbox, Place, Seated};
use super::socket::{Over, farewell, first, next, write};
use super::{Incoming, Outgoing, PATIENCE, RoomsDoor};
use crate::host::HostId;
use crate::registry::Join;

impl RoomsDoor {
    /// Serves a socket on which a device from this address speaks, until it is over.
    pub async fn serve_device<R, W>(&self, source: IpAddr, mut from: R, mut to: W)
    where
        R: Stream<Item = Incoming> + Unpin + Send,
        W: Sink<Outgoing> + Unpin + Send,
    {
        let over = self.device_socket(source, &mut from, &mut to).await;
        farewell(&mut to, over).await;
    }

    async fn device_socket<R, W>(&self, source: IpAddr, from: &mut R, to: &mut W) -> Over
    where
        R: Stream<Item = Incoming> + Unpin + Send,
        W: Sink<Outgoing> + Unpin + Send,
    {
        let (host, room, hints) = match self.joined(source, first(from).await).await {
            Ok(joined) => joined,
            Err(over) => return over,
        };
        let (keeps, mut mail, end) = Place::new().split();
        let (id, inbox) = match self.seats.seat_device(host, room, keeps, hints.clone()) {
            Ok(seated) => seated,
            Err(refusal) => return refusal.into(),
        };
        let seat = Seated { seats: &self.seats, room, id };
        tokio::select! {
            // What the other end still sent goes out before the end is said.
            biased;
            over = write(&mut mail, to, None) => over,
            over = read_device(&seat, from, inbox, &hints) => over,
            why = ended(end) => why.into(),
        }
    }

    /// Judges the device. Its token is used up only when the host is there to be joined.
    async fn joined(&self, source: IpAddr, said: Result<FromDevice, Over>) -> Result<(HostId, RoomId, Hints), Over> {
        let FromDevice::JoinRoom { room_id: room, pairing_token_hash, secret_hash, account, hints } = said?;
        let account = self.identity(account.as_deref()).await?;
        let credential = credential(pairing_token_hash, secret_hash);
        let admitted = self.registry.join(&Join { room, credential, source, account }).await?;
        if !self.seats.has_host(room, admitted.host) {
            return Err(Refusal::HostOffline.into());
        }
        self.registry.use_token(&admitted).await?;
        Ok((admitted.host, room, hints))
    }
}

/// Announces the device; then passes on what is binary. A device has nothing more to say in text.
async fn read_device<R>(seat: &Seated<'_>, from: &mut R, host: Inbox, hints: &Hints) -> Over
where
    R: Stream<Item = Incoming> + Unpin + Send,
{
    let joined = Reply::PeerJoined { room_id: seat.room, hints }.to_message();
    let announced = host.send(Delivery::Peer(seat.id, joined));
    match tokio::time::timeout(PATIENCE, announced).await {
        Ok(Ok(())) => {}
        Ok(Err(_)) => return Refusal::PeerLeft.into(),
        Err(_) => return Refusal::HostOffline.into(),
    }
    loop {
        match next(from).await {
            Ok(Incoming::Binary(bytes)) => {
                if host.send(Delivery::Bytes(seat.id, bytes)).await.is_err() {
                    return Refusal::PeerLeft.into();
                }
            }
            Ok(_) => return Refusal::Message.into(),
            Err(over) => return over,
        }
    }
}
