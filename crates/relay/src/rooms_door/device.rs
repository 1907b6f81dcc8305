//! A device's socket.

use std::net::IpAddr;
use std::sync::Arc;

use couplet_protocol::RoomId;
use couplet_protocol::secret::SecretText;
use futures_util::{Sink, Stream};
use tokio::time::Instant;

use super::host::ended;
use super::message::{FromDevice, Hints, Refusal, Reply, credential};
use super::seats::{Beside, Delivery, Place, Seated};
use super::socket::{Over, Said, farewell, first, next, write};
use super::{Incoming, Outgoing, PATIENCE, RoomsDoor};
use crate::host::HostId;
use crate::quota::{Quota, pay};
use crate::registry::JoinError;
use crate::room::Credential;

impl RoomsDoor {
    /// Serves a socket on which a device from this address speaks, until it is over. What passes is charged to its source's
    /// quota, too.
    pub(crate) async fn serve_device<R, W>(&self, source: IpAddr, quota: Option<Arc<Quota>>, mut from: R, mut to: W)
    where
        R: Stream<Item = Incoming> + Unpin + Send,
        W: Sink<Outgoing> + Unpin + Send,
    {
        let _counted = self.sockets.token();
        let over = self.until_stopped(self.device_socket(source, quota, &mut from, &mut to)).await;
        farewell(&mut to, over).await;
    }

    async fn device_socket<R, W>(&self, source: IpAddr, quota: Option<Arc<Quota>>, from: &mut R, to: &mut W) -> Over
    where
        R: Stream<Item = Incoming> + Unpin + Send,
        W: Sink<Outgoing> + Unpin + Send,
    {
        let (host, room, hints) = match self.joined(source, first(from).await).await {
            Ok(joined) => joined,
            Err(over) => return over,
        };
        let (keeps, mut mail, end) = Place::new(quota.clone()).split();
        let (id, beside) = match self.seats.seat_device(host, room, keeps, hints.clone()) {
            Ok(seated) => seated,
            Err(refusal) => return refusal.into(),
        };
        tracing::info!(target: "couplet::relay", %room, %host, "room.joined");
        let seat = Seated { seats: &self.seats, room, id };
        tokio::select! {
            // What the other end still sent goes out before the end is said.
            biased;
            over = write(&mut mail, to, None) => over,
            over = self.read_device(&seat, from, &beside, quota.as_ref(), &hints) => over,
            why = ended(end) => why.into(),
        }
    }

    /// Judges the device. Its token is used up only when the host is there to be joined.
    async fn joined(&self, source: IpAddr, said: Result<FromDevice, Over>) -> Result<(HostId, RoomId, Hints), Over> {
        let FromDevice::JoinRoom { room_id: room, pairing_token_hash, secret_hash, account, hints } = said?;
        let credential = credential(pairing_token_hash, secret_hash);
        let admitted = self.admit(room, credential, source, account.as_ref()).await;
        if admitted.is_err() {
            self.metrics.refused.increment(1);
        }
        Ok((admitted?, room, hints))
    }

    async fn admit(
        &self,
        room: RoomId,
        credential: Credential,
        source: IpAddr,
        account: Option<&SecretText>,
    ) -> Result<HostId, Refusal> {
        let refused = |error: &JoinError| tracing::debug!(target: "couplet::relay", %room, %error, "join.refused");
        let judged = self.registry.judge(room, &credential, source).await.inspect_err(refused)?;
        let account = self.identity(account).await?;
        let admitted = judged.admit(account.as_ref()).inspect_err(refused)?;
        // Each makes the host start anew.
        self.joins.spend(admitted.by.to_bytes(), Instant::now()).map_err(|_| Refusal::TooOften)?;
        if !self.seats.has_host(room, admitted.host) {
            return Err(Refusal::HostOffline);
        }
        self.registry.use_token(&admitted).await?;
        Ok(admitted.host)
    }

    /// Announces the device; then passes on what is binary. A device has nothing more to say in text.
    async fn read_device<R>(
        &self,
        seat: &Seated<'_>,
        from: &mut R,
        host: &Beside,
        quota: Option<&Arc<Quota>>,
        hints: &Hints,
    ) -> Over
    where
        R: Stream<Item = Incoming> + Unpin + Send,
    {
        let joined = Reply::PeerJoined { room_id: seat.room, hints }.to_message();
        let announced = host.inbox.send(Delivery::Peer(seat.id, joined));
        match tokio::time::timeout(PATIENCE, announced).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Refusal::PeerLeft.into(),
            Err(_) => return Refusal::HostOffline.into(),
        }
        loop {
            match next(from).await {
                Ok(Said::Binary(bytes)) => {
                    let len = bytes.len();
                    if host.inbox.send(Delivery::Bytes(seat.id, bytes)).await.is_err() {
                        return Refusal::PeerLeft.into();
                    }
                    self.metrics.bytes.increment(len as u64);
                    pay(len, [quota, host.quota.as_ref()]).await;
                }
                Ok(_) => return Refusal::Message.into(),
                Err(over) => return over,
            }
        }
    }
}
