//! Passwords: hashed and verified by a few threads of their own, and judged before they are accepted.
//!
//! Hashing is meant to be slow and to fill memory. It is kept to a fixed number of threads of low priority, so that
//! no number of sign-ins takes the memory or the processor from those who are signed in.

mod argon;
mod common;
mod guessable;
mod queue;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
};

use kerria_core::{Entropy, PasswordHash, Secret};
use tokio::sync::oneshot;
use tracing::{Span, error};

use self::{
    argon::{Hasher, Memory, normal_form},
    queue::Queue,
};
use crate::config::PasswordSettings;

/// The longest password, in bytes of UTF-8 in Normalization Form C.
pub const PASSWORD_BYTES: usize = 4096;

/// No text in Normalization Form C is more than three times as long in another form (Unicode Standard Annex 15).
const TYPED_BYTES: usize = 3 * PASSWORD_BYTES;

/// How much lower than that of the other threads the priority of the workers is.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;

/// Hashes and verifies passwords, a few at a time. Stops when it is dropped.
pub struct Passwords {
    queue: Arc<Queue<Job>>,
    workers: Vec<thread::JoinHandle<()>>,
    min_length: usize,
}

/// All workers are at work, and as many wait for them as may. Try again in a second or so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many passwords wait to be hashed")]
pub struct Busy;

/// Whether a password is the one that was hashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verified {
    /// It is.
    Right {
        /// The hash to keep from now on, if the old one was made with other parameters than those configured.
        rehash: Option<PasswordHash>,
    },
    /// It is not, or there was none.
    Wrong,
}

/// Why a password is not accepted. Its text is for the person who chose it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPassword {
    /// It has fewer characters than configured.
    #[error(
        "Choose a password of at least {min_length} characters. A few unrelated words in a row are easy to remember \
         and hard to guess."
    )]
    TooShort {
        /// The fewest characters.
        min_length: usize,
    },
    /// It has more than [`PASSWORD_BYTES`] bytes.
    #[error("This password is longer than we can take. A thousand characters always fit.")]
    TooLong,
    /// It is a common password or a pattern.
    #[error(
        "This password is one of the first that attackers try. A few unrelated words in a row are easy to remember \
         and hard to guess."
    )]
    Common,
    /// It is made of its owner's name, of their address, or of the name of this place.
    #[error(
        "This password is mostly a name that others know. Leave out your own name, your address and the name of this \
         site."
    )]
    AboutOwner,
}

impl Passwords {
    /// Starts the workers. While they wait they hold no memory but their stacks.
    ///
    /// # Panics
    /// If the system starts no threads, or if Argon2 cannot work with the parameters (it wants at least 8 KiB of
    /// memory a lane, one pass and one lane).
    #[must_use]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "the settings are used up, whatever becomes of them later"
    )]
    pub fn start(settings: PasswordSettings, entropy: Arc<dyn Entropy>) -> Self {
        let count = settings.workers.max(1) as usize;
        let hasher = Arc::new(Hasher::new(&settings, entropy));
        let queue = Arc::new(Queue::new(settings.queue as usize, count));
        let workers = (1..=count)
            .map(|number| {
                let (queue, hasher) = (Arc::clone(&queue), Arc::clone(&hasher));
                thread::Builder::new()
                    .name(format!("password-{number}"))
                    .spawn(move || work(&queue, &hasher))
                    .expect("the system starts threads when the server starts")
            })
            .collect();
        Self { queue, workers, min_length: settings.min_length as usize }
    }

    /// Hashes a password: all of it, in Normalization Form C, with Argon2id and a salt of its own.
    ///
    /// # Errors
    /// [`Busy`], at once, if there is no room in the queue.
    pub async fn hash(&self, password: &Secret<String>) -> Result<PasswordHash, Busy> {
        let (answer, answered) = oneshot::channel();
        self.ask(Task::Hash { password: password.clone(), answer })?;
        answered.await.map_err(|_| Busy)
    }

    /// Verifies a password. Without a hash, because there is no such user, it does the same work for nothing.
    ///
    /// # Errors
    /// [`Busy`], at once, if there is no room in the queue.
    pub async fn verify(
        &self,
        password: &Secret<String>,
        hash: Option<PasswordHash>,
    ) -> Result<Verified, Busy> {
        if password.expose().len() > TYPED_BYTES {
            return Ok(Verified::Wrong); // nobody has such a password, and so this tells of nobody
        }
        let (answer, answered) = oneshot::channel();
        self.ask(Task::Verify { password: password.clone(), hash, answer })?;
        answered.await.map_err(|_| Busy)
    }

    /// Says whether a new password may be accepted. `about` is what others know of its owner and of this place: the
    /// name, the e-mail address, the site's name. Any characters will do, spaces too.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self, password: &Secret<String>, about: &[&str]) -> Result<(), BadPassword> {
        if password.expose().len() > TYPED_BYTES {
            return Err(BadPassword::TooLong);
        }
        let password = normal_form(password);
        if password.expose().len() > PASSWORD_BYTES {
            Err(BadPassword::TooLong)
        } else if password.expose().chars().count() < self.min_length {
            Err(BadPassword::TooShort { min_length: self.min_length })
        } else if guessable::is_worn(&password) {
            Err(BadPassword::Common)
        } else if guessable::is_about(&password, about, self.min_length / 2) {
            Err(BadPassword::AboutOwner)
        } else {
            Ok(())
        }
    }

    fn ask(&self, task: Task) -> Result<(), Busy> {
        self.queue.push(Job { task, span: Span::current() }).map_err(|_| Busy)
    }
}

impl Drop for Passwords {
    fn drop(&mut self) {
        self.queue.close();
        for worker in self.workers.drain(..) {
            let _ = worker.join(); // it has caught and logged its panics
        }
    }
}

/// What a worker is asked to do, and in which span it was asked.
struct Job {
    task: Task,
    span: Span,
}

enum Task {
    Hash { password: Secret<String>, answer: oneshot::Sender<PasswordHash> },
    Verify { password: Secret<String>, hash: Option<PasswordHash>, answer: oneshot::Sender<Verified> },
}

impl queue::Job for Job {
    fn is_wanted(&self) -> bool {
        match &self.task {
            Task::Hash { answer, .. } => !answer.is_closed(),
            Task::Verify { answer, .. } => !answer.is_closed(),
        }
    }
}

/// What has come of a task, and who waits for it.
enum Done {
    Hashed(oneshot::Sender<PasswordHash>, PasswordHash),
    Verified(oneshot::Sender<Verified>, Verified),
}

impl Job {
    fn run(self, hasher: &Hasher, memory: &mut Memory) -> Result<Done, argon2::Error> {
        let _span = self.span.entered();
        Ok(match self.task {
            Task::Hash { password, answer } => Done::Hashed(answer, hasher.hash(&password, memory)?),
            Task::Verify { password, hash, answer } => {
                Done::Verified(answer, hasher.verify(&password, hash.as_ref(), memory)?)
            }
        })
    }
}

impl Done {
    /// Whoever does not wait any more does not want to know.
    fn answer(self) {
        match self {
            Self::Hashed(answer, hash) => drop(answer.send(hash)),
            Self::Verified(answer, verified) => drop(answer.send(verified)),
        }
    }
}

/// What a worker does all day.
fn work(queue: &Queue<Job>, hasher: &Hasher) {
    lower_priority();
    let mut memory = Memory::default();
    while queue.wait() {
        while queue.work(|job| run(job, hasher, &mut memory), |done| done.into_iter().for_each(Done::answer))
        {
        }
        memory.give_back();
    }
}

/// Does one job. If that fails, the one who asked hears that we are busy, and the worker goes on.
fn run(job: Job, hasher: &Hasher, memory: &mut Memory) -> Option<Done> {
    match catch_unwind(AssertUnwindSafe(|| job.run(hasher, memory))) {
        Ok(Ok(done)) => return Some(done),
        Ok(Err(error)) => error!(%error, "a password could not be hashed: {error}"),
        Err(_) => error!("a password could not be hashed: the worker panicked"),
    }
    None
}

/// Lets every other thread go first. On Linux the niceness is the thread's own; elsewhere it is the whole process's.
fn lower_priority() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::nice(NICENESS) {
        tracing::warn!(%error, "a password worker keeps its priority: {error}");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Condvar, Mutex};

    use futures_util::FutureExt;
    use proptest::prelude::*;

    use super::*;

    /// Entropy that lets nobody pass before the gate is opened, and counts who came.
    #[derive(Default)]
    struct Gate {
        state: Mutex<(bool, u32)>,
        changed: Condvar,
    }

    impl Gate {
        fn opened() -> Arc<Self> {
            let gate = Arc::new(Self::default());
            gate.open();
            gate
        }

        fn open(&self) {
            self.state.lock().unwrap().0 = true;
            self.changed.notify_all();
        }

        fn shut(&self) {
            *self.state.lock().unwrap() = (false, 0);
        }

        fn await_arrivals(&self, count: u32) {
            drop(
                self.changed.wait_while(self.state.lock().unwrap(), |(_, arrived)| *arrived < count).unwrap(),
            );
        }

        fn arrivals(&self) -> u32 {
            self.state.lock().unwrap().1
        }
    }

    impl Entropy for Gate {
        fn fill(&self, bytes: &mut [u8]) {
            self.state.lock().unwrap().1 += 1;
            self.changed.notify_all();
            drop(self.changed.wait_while(self.state.lock().unwrap(), |(open, _)| !*open).unwrap());
            bytes.fill(7);
        }
    }

    fn passwords(workers: u32, queue: u32, gate: &Arc<Gate>) -> Passwords {
        let settings =
            PasswordSettings { min_length: 15, memory_kib: 8, iterations: 1, lanes: 1, workers, queue };
        Passwords::start(settings, Arc::<Gate>::clone(gate))
    }

    fn secret(text: &str) -> Secret<String> {
        Secret::from(text)
    }

    #[tokio::test]
    async fn what_was_hashed_is_verified() {
        let passwords = passwords(2, 2, &Gate::opened());
        let hash = passwords.hash(&secret("correct horse")).await.unwrap();
        assert_eq!(
            passwords.verify(&secret("correct horse"), Some(hash.clone())).await,
            Ok(Verified::Right { rehash: None })
        );
        assert_eq!(passwords.verify(&secret("wrong horse"), Some(hash)).await, Ok(Verified::Wrong));
        assert_eq!(passwords.verify(&secret("correct horse"), None).await, Ok(Verified::Wrong));
    }

    #[tokio::test]
    async fn one_more_than_may_wait_is_turned_away_at_once() {
        let gate = Gate::opened();
        let passwords = passwords(1, 2, &gate);
        gate.shut();
        let password = secret("correct horse");
        let mut taken: Vec<_> = (0..3).map(|_| Box::pin(passwords.hash(&password))).collect();
        for hash in &mut taken {
            assert!(hash.as_mut().now_or_never().is_none());
        }
        gate.await_arrivals(1);
        assert_eq!(passwords.hash(&password).now_or_never(), Some(Err(Busy)));
        assert_eq!(passwords.verify(&password, None).now_or_never(), Some(Err(Busy)));
        gate.open();
        for hash in taken {
            assert!(hash.await.is_ok());
        }
        assert!(passwords.hash(&password).await.is_ok());
    }

    #[tokio::test]
    async fn a_job_whose_caller_went_away_is_not_done() {
        let gate = Gate::opened();
        let passwords = passwords(1, 2, &gate);
        gate.shut();
        let password = secret("correct horse");
        let mut first = Box::pin(passwords.hash(&password));
        assert!(first.as_mut().now_or_never().is_none());
        gate.await_arrivals(1);
        let mut impatient: Vec<_> = (0..2).map(|_| Box::pin(passwords.hash(&password))).collect();
        for hash in &mut impatient {
            assert!(hash.as_mut().now_or_never().is_none());
        }
        drop(impatient);
        let mut last = Box::pin(passwords.hash(&password));
        assert!(last.as_mut().now_or_never().is_none(), "those who went away left room");
        gate.open();
        assert!(first.await.is_ok() && last.await.is_ok());
        assert_eq!(gate.arrivals(), 2);
    }

    #[tokio::test]
    async fn a_panic_costs_the_job_and_not_the_worker() {
        /// Works once, for the start.
        struct Broken(std::sync::atomic::AtomicU32);
        impl Entropy for Broken {
            fn fill(&self, _: &mut [u8]) {
                let times = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                assert_ne!(times, 2, "no random bytes to be had");
            }
        }
        let settings =
            PasswordSettings { min_length: 15, memory_kib: 8, iterations: 1, lanes: 1, workers: 1, queue: 0 };
        let passwords = Passwords::start(settings, Arc::new(Broken(0.into())));
        assert_eq!(passwords.hash(&secret("correct horse")).await, Err(Busy));
        while passwords.hash(&secret("correct horse")).await.is_err() {} // the worker may still be tidying up
    }

    #[test]
    fn dropping_the_passwords_stops_the_workers() {
        let passwords = passwords(3, 1, &Gate::opened());
        let queue = Arc::downgrade(&passwords.queue);
        drop(passwords);
        assert_eq!(queue.strong_count(), 0);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_worker_lets_others_go_first_and_they_keep_their_priority() {
        let before = rustix::process::nice(0).unwrap();
        let passwords = passwords(1, 1, &Gate::opened());
        passwords.hash(&secret("correct horse")).await.unwrap();
        let stats = std::fs::read_dir("/proc/self/task").unwrap().filter_map(|task| {
            std::fs::read_to_string(task.unwrap().path().join("stat")).ok() // a thread may end meanwhile
        });
        let niceness = |stat: &str| stat.rsplit(')').next().unwrap().split(' ').nth(17).unwrap().parse();
        let mut workers = stats.filter(|stat| stat.contains("(password-1)"));
        assert!(workers.any(|stat| niceness(&stat) == Ok((before + NICENESS).min(19))));
        assert_eq!(rustix::process::nice(0), Ok(before));
    }

    #[test]
    fn length_is_counted_in_characters_and_bounded_in_bytes() {
        let passwords = passwords(1, 1, &Gate::opened());
        let check = |text: &str| passwords.check(&secret(text), &[]);
        let words = "correct horse battery staple ";
        for good in [
            "horse my staple",
            "un café très chaud",
            "🦀 eats 🍕 in 🌧 !",
            " spaces around it ",
            "tab\tand\0nul inside",
            &words.repeat(5)[..64],
            &words.repeat(5)[..128],
            &format!("{}x{}", "long ".repeat(400), "other ".repeat(350))[..PASSWORD_BYTES],
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        let too_short = Err(BadPassword::TooShort { min_length: 15 });
        assert_eq!(check("horse my stapl"), too_short);
        assert_eq!(check(""), too_short);
        assert_eq!(check("e\u{301}u\u{301}a\u{301}o\u{301}i\u{301}xwvqz"), too_short, "10 in composed form");
        assert_eq!(check(&"x".repeat(PASSWORD_BYTES + 1)), Err(BadPassword::TooLong));
        assert_eq!(check(&"x".repeat(1_000_000)), Err(BadPassword::TooLong));
    }

    #[test]
    fn a_megabyte_is_refused_without_a_worker() {
        let passwords = passwords(1, 1, &Gate::opened());
        let megabyte = secret(&"é".repeat(500_000));
        assert_eq!(passwords.verify(&megabyte, None).now_or_never(), Some(Ok(Verified::Wrong)));
    }

    #[test]
    fn what_is_refused_is_refused_with_a_reason() {
        let passwords = passwords(1, 1, &Gate::opened());
        let refusal = |text: &str| {
            let about = ["Alice", "alice.smith@example.com", "Kerria"];
            passwords.check(&secret(text), &about).unwrap_err().to_string()
        };
        assert_eq!(
            refusal("too short"),
            "Choose a password of at least 15 characters. A few unrelated words in a row are easy to remember and \
             hard to guess."
        );
        assert!(
            refusal("Password1234567").starts_with("This password is one of the first that attackers try.")
        );
        assert!(refusal("alice.kerria.2024").starts_with("This password is mostly a name that others know."));
        assert!(refusal(&"x".repeat(5000)).starts_with("This password is longer than we can take."));
    }

    proptest! {
        #[test]
        fn any_text_is_judged(text in "\\PC{0,40}|.{0,40}", about in ".{0,12}") {
            let passwords = passwords(1, 1, &Gate::opened());
            let _ = passwords.check(&secret(&text), &[&about]);
        }

        #[test]
        fn a_password_repeated_or_written_large_is_judged_as_common_as_it_was(count in 1_usize..5) {
            let passwords = passwords(1, 1, &Gate::opened());
            for word in ["michaeljackson", "qwertyuiop12345", "manchesterunited"] {
                let text = word.repeat(count).to_uppercase();
                let expected = if text.len() < 15 {
                    BadPassword::TooShort { min_length: 15 }
                } else {
                    BadPassword::Common
                };
                prop_assert_eq!(passwords.check(&secret(&text), &[]), Err(expected));
            }
        }
    }
}
