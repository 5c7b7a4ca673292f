//! Sessions in the store (`auth::session::stored`).
//!
//! One connection for the process, on a thread of its own, so that neither a compilation on control nor a busy worker holds up
//! the requests of the others. What fails fails soon: while the store is away, only one question in [`PAUSE_AFTER_FAILURE`]
//! goes as far as trying it.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ::auth::session::stored::{Manner, Write};
use arc_swap::ArcSwapOption;
use redis::aio::MultiplexedConnection;
use redis::{RedisResult, Script};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};

use super::{ANSWER_TIMEOUT, Connected, StoreError};
use crate::settings::SharedStore as Settings;

/// Questions under way, of all workers.
pub(crate) const QUESTIONS_LEN_MAX: usize = 4096;

/// This process's way to the sessions. Without settings every question fails.
#[derive(Default)]
pub(crate) struct SessionStore {
    running: ArcSwapOption<Running>,
}

struct Running {
    link: Arc<Link>,
    /// Of the thread that moves the bytes.
    thread: Handle,
    places: Arc<Semaphore>,
    /// The thread ends with it.
    _stop: oneshot::Sender<()>,
}

/// The connection, while there is one.
struct Link {
    settings: Settings,
    connected: tokio::sync::Mutex<Option<(u64, Connected)>>,
    /// When the last failure was, and how many connections there have been.
    failed: Mutex<(Option<Instant>, u64)>,
}

impl SessionStore {
    /// Goes on with these settings; `None` is the end of it.
    pub(crate) fn configure(&self, settings: Option<&Settings>) -> std::io::Result<()> {
        let running = self.running.load();
        if running.as_ref().map(|running| &running.link.settings) == settings {
            return Ok(());
        }
        let new = settings.map(Running::start).transpose()?;
        self.running.store(new.map(Arc::new));
        Ok(())
    }

    /// Whether there is one at all.
    pub(crate) fn is_named(&self) -> bool {
        self.running.load().is_some()
    }

    /// What stands under a key.
    pub(crate) async fn read(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let key = full(key);
        self.ask(async move |mut store| redis::cmd("GET").arg(key).query_async(&mut store).await).await
    }

    /// Does a write; false where there was nothing any more to update.
    pub(crate) async fn write(&self, write: Write) -> Result<bool, StoreError> {
        self.ask(async move |mut store| {
            let script = Script::new(WRITE);
            let mut invocation = script.key(full(&write.key));
            for set in &write.found_by {
                invocation.key(full(set));
            }
            invocation.arg(write.value).arg(u64::try_from(write.lifetime.as_millis()).unwrap_or(u64::MAX));
            invocation.arg(match write.manner {
                Manner::New => "new",
                Manner::Update => "update",
            });
            invocation.arg(write.replaces.as_deref().map(full).unwrap_or_default());
            invocation.invoke_async(&mut store).await
        })
        .await
    }

    /// Ends one session.
    pub(crate) async fn end(&self, key: &str) -> Result<(), StoreError> {
        let key = full(key);
        self.ask(async move |mut store| redis::cmd("DEL").arg(key).query_async::<u64>(&mut store).await)
            .await
            .map(drop)
    }

    /// Ends all sessions of a set.
    pub(crate) async fn end_all(&self, set: &str) -> Result<(), StoreError> {
        let set = full(set);
        self.ask(async move |mut store| Script::new(END_ALL).key(set).invoke_async::<u64>(&mut store).await)
            .await
            .map(drop)
    }

    /// Takes the turn to refresh a session, for [`TURN`] at the most; false while somebody else has it.
    pub(crate) async fn take_turn(&self, key: &str, owner: &str) -> Result<bool, StoreError> {
        let (key, owner) = (turn(key), owner.to_owned());
        let milliseconds = u64::try_from(TURN.as_millis()).unwrap_or(u64::MAX);
        self.ask(async move |mut store| {
            let mut set = redis::cmd("SET");
            set.arg(key).arg(owner).arg("NX").arg("PX").arg(milliseconds);
            set.query_async::<Option<String>>(&mut store).await
        })
        .await
        .map(|taken| taken.is_some())
    }

    /// Gives the turn back, if it is still this owner's.
    pub(crate) async fn give_back_turn(&self, key: &str, owner: &str) -> Result<(), StoreError> {
        let (key, owner) = (turn(key), owner.to_owned());
        self.ask(async move |mut store| {
            Script::new(GIVE_BACK).key(key).arg(owner).invoke_async::<u64>(&mut store).await
        })
        .await
        .map(drop)
    }

    async fn ask<T: Send + 'static, F: Future<Output = RedisResult<T>> + Send>(
        &self,
        question: impl FnOnce(MultiplexedConnection) -> F + Send + 'static,
    ) -> Result<T, StoreError> {
        let running = self.running.load_full().ok_or(StoreError::Unnamed)?;
        let place = Arc::clone(&running.places).try_acquire_owned().map_err(|_| StoreError::Busy)?;
        let link = Arc::clone(&running.link);
        let asked = running.thread.spawn(async move {
            let answer = link.ask(question).await;
            drop(place);
            answer
        });
        // The thread ends when the settings change, and the next request has the next one.
        asked.await.unwrap_or(Err(StoreError::Away))
    }
}

impl Running {
    fn start(settings: &Settings) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        std::thread::Builder::new().name("sessions".into()).spawn(move || {
            // An error is the end of the sender, which is what is waited for.
            let _ = runtime.block_on(stopped);
        })?;
        let link = Link {
            settings: settings.clone(),
            connected: tokio::sync::Mutex::default(),
            failed: Mutex::default(),
        };
        let places = Arc::new(Semaphore::new(QUESTIONS_LEN_MAX));
        Ok(Running { link: Arc::new(link), thread, places, _stop: stop })
    }
}

impl Link {
    async fn ask<T, F: Future<Output = RedisResult<T>>>(
        &self,
        question: impl FnOnce(MultiplexedConnection) -> F,
    ) -> Result<T, StoreError> {
        let (number, connection) = self.connection().await?;
        let failure = match tokio::time::timeout(ANSWER_TIMEOUT, question(connection)).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => StoreError::Refused(error.to_string().into()),
            Err(_) => StoreError::Timeout,
        };
        // Nobody knows what a connection that failed would say next.
        let mut connected = self.connected.lock().await;
        if connected.as_ref().is_some_and(|(known, _)| *known == number) {
            *connected = None;
            self.fail(&failure);
        }
        Err(failure)
    }

    async fn connection(&self) -> Result<(u64, MultiplexedConnection), StoreError> {
        let mut connected = self.connected.lock().await;
        if let Some((number, known)) = &*connected {
            return Ok((*number, known.connection.clone()));
        }
        let (failed, number) = *self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if failed.is_some_and(|at| at.elapsed() < PAUSE_AFTER_FAILURE) {
            return Err(StoreError::Away);
        }
        match Connected::make(&self.settings).await {
            Ok(made) => {
                if failed.is_some() {
                    tracing::info!("the shared store answers again: sessions in it are good again");
                }
                *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = (None, number + 1);
                let connection = made.connection.clone();
                *connected = Some((number, made));
                Ok((number, connection))
            }
            Err(error) => {
                self.fail(&error);
                Err(error)
            }
        }
    }

    fn fail(&self, why: &StoreError) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if failed.0.is_none() {
            tracing::warn!("the shared store cannot be used, and whose session is in it is refused: {why}");
        }
        failed.0 = Some(Instant::now());
    }
}

fn full(key: &str) -> String {
    format!("vestibule:{key}")
}

fn turn(key: &str) -> String {
    format!("vestibule:refreshing:{key}")
}

/// Puts a session there, or in the place of what it was; and its key where logouts look for it. Sets are cleared of what has
/// gone whenever they have grown by 64.
const WRITE: &str = r"
if ARGV[3] == 'update' then
    if not redis.call('SET', KEYS[1], ARGV[1], 'XX', 'PX', ARGV[2]) then return 0 end
else
    redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
for index = 2, #KEYS do
    local set = KEYS[index]
    if redis.call('SADD', set, KEYS[1]) == 1 and redis.call('SCARD', set) % 64 == 0 then
        for _, key in ipairs(redis.call('SMEMBERS', set)) do
            if redis.call('EXISTS', key) == 0 then redis.call('SREM', set, key) end
        end
    end
    if redis.call('PTTL', set) < tonumber(ARGV[2]) then redis.call('PEXPIRE', set, ARGV[2]) end
end
if ARGV[4] ~= '' then redis.call('DEL', ARGV[4]) end
return 1
";

const END_ALL: &str = r"
local ended = 0
for _, key in ipairs(redis.call('SMEMBERS', KEYS[1])) do
    ended = ended + redis.call('DEL', key)
end
redis.call('DEL', KEYS[1])
return ended
";

const GIVE_BACK: &str = r"
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
";

/// Longer than a provider is waited for, with all that comes with it.
const TURN: Duration = Duration::from_secs(45);
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests;
