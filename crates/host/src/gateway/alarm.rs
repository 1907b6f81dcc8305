//! One timer for all that a connection waits for.
//!
//! Nearly every deadline of a connection passes unneeded: a head comes, an app answers. Setting and clearing a
//! timer for each costs more than judging the request does. So the timer of a connection stays as it was set, and
//! when it rings too early, is set on to what is waited for then.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Instant as StdInstant;

use hyper::rt::{Sleep as HyperSleep, Timer};
use tokio::time::{Instant, Sleep, sleep_until};

/// The timer of one connection, and so of one task: it is that task which it wakes.
#[derive(Clone, Debug, Default)]
pub(super) struct Alarm(Arc<Mutex<Option<Pin<Box<Sleep>>>>>);

impl Alarm {
    /// Ready once `deadline` is over; until then the task is woken by then at the latest.
    ///
    /// Woken early, the task must ask again.
    pub(super) fn poll(&self, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let mut sleep = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(sleep) = &mut *sleep else {
            return sleep.insert(Box::pin(sleep_until(deadline))).as_mut().poll(cx);
        };
        if !sleep.is_elapsed() && sleep.deadline() <= deadline {
            return Poll::Pending;
        }
        sleep.as_mut().reset(deadline);
        ready!(sleep.as_mut().poll(cx));
        Poll::Ready(())
    }
}

/// How hyper asks for it, for the time that a request's head may take.
impl Timer for Alarm {
    fn sleep(&self, duration: std::time::Duration) -> Pin<Box<dyn HyperSleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, deadline: StdInstant) -> Pin<Box<dyn HyperSleep>> {
        Box::pin(Until { alarm: self.clone(), deadline: Instant::from_std(deadline) })
    }

    fn now(&self) -> StdInstant {
        Instant::now().into_std()
    }

    fn reset(&self, sleep: &mut Pin<Box<dyn HyperSleep>>, deadline: StdInstant) {
        match sleep.as_mut().downcast_mut_pin::<Until>() {
            Some(mut until) => until.deadline = Instant::from_std(deadline),
            None => *sleep = self.sleep_until(deadline),
        }
    }
}

struct Until {
    alarm: Alarm,
    deadline: Instant,
}

impl Future for Until {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.alarm.poll(self.deadline, cx)
    }
}

impl HyperSleep for Until {}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    async fn seconds_until(alarm: &Alarm, start: Instant, at: u64) -> u64 {
        poll_fn(|cx| alarm.poll(start + Duration::from_secs(at), cx)).await;
        start.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn it_rings_for_what_is_waited_for_now() {
        let (alarm, start) = (Alarm::default(), Instant::now());
        assert_eq!(seconds_until(&alarm, start, 10).await, 10);
        // Sooner than what it was set to before.
        let later = poll_fn(|cx| Poll::Ready(alarm.poll(start + Duration::from_secs(60), cx))).await;
        assert!(later.is_pending());
        assert_eq!(seconds_until(&alarm, start, 20).await, 20);
        // Later: it rings at 30 for what nobody waits for any more, and is set on.
        let sooner = poll_fn(|cx| Poll::Ready(alarm.poll(start + Duration::from_secs(30), cx))).await;
        assert!(sooner.is_pending());
        assert_eq!(seconds_until(&alarm, start, 40).await, 40);
        // Over already.
        assert_eq!(seconds_until(&alarm, start, 5).await, 40);
    }
}
