//! Tasks: their table, their wakers, and the handle that waits for one.
//!
//! A task's number is never used again, so a waker that outlives its task wakes
//! nobody else by mistake.

use alloc::{
    boxed::Box,
    collections::{BTreeMap, VecDeque},
    rc::Rc,
    sync::Arc,
    task::Wake,
};
use core::{
    cell::RefCell,
    fmt,
    future::Future,
    pin::Pin,
    sync::atomic::{AtomicBool, Ordering},
    task::{Poll, Waker},
};

use spin::Mutex;

use super::Runtime;

/// A task's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TaskId(u64);

/// The body of a task.
pub(super) type BoxedFuture = Pin<Box<dyn Future<Output = ()>>>;

/// Tasks that were woken and wait for their turn.
type ReadyQueue = Mutex<VecDeque<TaskId>>;

/// Puts its task into the ready queue, at most once until the task runs.
struct TaskWaker {
    id: TaskId,
    queued: AtomicBool,
    ready: Arc<ReadyQueue>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::AcqRel) {
            self.ready.lock().push_back(self.id);
        }
    }
}

struct Task {
    /// `None` while the task runs.
    future: Option<BoxedFuture>,
    waker: Arc<TaskWaker>,
    aborted: bool,
}

/// All living tasks.
#[derive(Default)]
pub(super) struct Tasks {
    table: BTreeMap<TaskId, Task>,
    ready: Arc<ReadyQueue>,
    next_id: u64,
}

impl Tasks {
    /// Adds a task that is ready to run for the first time.
    pub(super) fn insert(&mut self, future: BoxedFuture) -> TaskId {
        let id = TaskId(self.next_id);
        self.next_id += 1;
        let waker = Arc::new(TaskWaker {
            id,
            queued: AtomicBool::new(false),
            ready: self.ready.clone(),
        });
        waker.wake_by_ref();
        self.table.insert(
            id,
            Task {
                future: Some(future),
                waker,
                aborted: false,
            },
        );
        id
    }

    /// How many tasks live.
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// How many tasks wait for their turn.
    pub(super) fn ready(&self) -> usize {
        self.ready.lock().len()
    }

    /// Takes the task that has waited longest.
    pub(super) fn next_ready(&self) -> Option<TaskId> {
        self.ready.lock().pop_front()
    }

    /// Takes a task's future out for polling; a wake from now on counts again.
    pub(super) fn check_out(&mut self, id: TaskId) -> Option<(BoxedFuture, Waker)> {
        let task = self.table.get_mut(&id)?;
        task.waker.queued.store(false, Ordering::Release);
        Some((task.future.take()?, task.waker.clone().into()))
    }

    /// Puts a future back; hands it out again if the task was aborted meanwhile.
    pub(super) fn check_in(&mut self, id: TaskId, future: BoxedFuture) -> Option<BoxedFuture> {
        match self.table.get_mut(&id) {
            Some(task) if !task.aborted => {
                task.future = Some(future);
                None
            }
            _ => {
                self.table.remove(&id);
                Some(future)
            }
        }
    }

    /// Forgets a task that is done.
    pub(super) fn finish(&mut self, id: TaskId) {
        self.table.remove(&id);
    }

    /// Ends a task early; its future is handed out for the caller to drop.
    fn abort(&mut self, id: TaskId) -> Option<BoxedFuture> {
        let task = self.table.get_mut(&id)?;
        if task.future.is_none() {
            task.aborted = true;
            return None;
        }
        self.table.remove(&id)?.future
    }
}

/// Where a task leaves its result, and whom it wakes then.
struct Outcome<T> {
    value: Option<T>,
    over: bool,
    waiter: Option<Waker>,
}

impl<T> Outcome<T> {
    fn end(&mut self) {
        self.over = true;
        if let Some(waiter) = self.waiter.take() {
            waiter.wake();
        }
    }
}

/// Marks the outcome as over however the task ends.
struct EndOnDrop<T>(Rc<RefCell<Outcome<T>>>);

impl<T> Drop for EndOnDrop<T> {
    fn drop(&mut self) {
        self.0.borrow_mut().end();
    }
}

/// A spawned task, seen from outside.
pub struct JoinHandle<T> {
    id: TaskId,
    runtime: Runtime,
    outcome: Rc<RefCell<Outcome<T>>>,
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl<T: 'static> JoinHandle<T> {
    pub(super) fn start(runtime: &Runtime, future: impl Future<Output = T> + 'static) -> Self {
        let outcome = Rc::new(RefCell::new(Outcome {
            value: None,
            over: false,
            waiter: None,
        }));
        let end = EndOnDrop(outcome.clone());
        let id = runtime
            .inner
            .tasks
            .borrow_mut()
            .insert(Box::pin(async move {
                let value = future.await;
                end.0.borrow_mut().value = Some(value);
            }));
        Self {
            id,
            runtime: runtime.clone(),
            outcome,
        }
    }

    /// Ends the task now; what it holds is dropped before this returns, unless
    /// the task aborts itself: then at its next wait.
    pub fn abort(&self) {
        let future = self.runtime.inner.tasks.borrow_mut().abort(self.id);
        drop(future);
    }

    /// Whether the task has ended or was aborted.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.outcome.borrow().over
    }

    /// Waits for the task; `None` if it was aborted.
    pub async fn join(self) -> Option<T> {
        core::future::poll_fn(|cx| {
            let mut outcome = self.outcome.borrow_mut();
            if outcome.over {
                return Poll::Ready(outcome.value.take());
            }
            outcome.waiter = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Takes the result if it is there.
    pub(super) fn take(&self) -> Option<T> {
        self.outcome.borrow_mut().value.take()
    }
}
