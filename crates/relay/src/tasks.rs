//! The tasks that outlive what started them, and end with the relay.

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Clones share the tasks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tasks {
    tracker: TaskTracker,
    /// Ends them.
    pub(crate) cut: CancellationToken,
}

impl Tasks {
    /// Runs a task until the relay ends.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let cut = self.cut.clone();
        self.tracker.spawn(async move {
            cut.run_until_cancelled(work).await;
        });
    }

    /// Ends them and waits until they are gone.
    pub(crate) async fn end(&self) {
        self.cut.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn no_task_outlives_the_relay() {
        let (tasks, held) = (Tasks::default(), Arc::new(()));
        for _ in 0..3 {
            let held = Arc::clone(&held);
            tasks.clone().spawn(async move {
                let _held = held;
                std::future::pending::<()>().await;
            });
        }
        assert_eq!(Arc::strong_count(&held), 4);
        tasks.end().await;
        assert_eq!(Arc::strong_count(&held), 1);
        tasks.spawn(async { std::future::pending().await });
        tasks.end().await;
    }
}
