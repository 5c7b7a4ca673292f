//! The exchange of what rate limits have let through (`crate::limit`), every [`EXCHANGE_EVERY`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::Script;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::{SharedStore, StoreError};
use crate::limit::{Limiter, Outgoing};
use crate::settings::SharedStore as Settings;

/// The exchange of this process, which goes on for as long as this is held.
pub(crate) struct Exchange {
    control: Handle,
    limiter: Arc<Limiter>,
    /// Of the limiter's time.
    started: Instant,
    running: Option<(Settings, JoinHandle<()>)>,
}

impl Exchange {
    pub(crate) fn new(control: Handle, limiter: Arc<Limiter>, started: Instant) -> Self {
        Exchange { control, limiter, started, running: None }
    }

    /// Goes on with these settings; `None` ends the exchange.
    pub(crate) fn configure(&mut self, settings: Option<&Settings>) {
        if self.running.as_ref().map(|(running, _)| running) == settings {
            return;
        }
        if let Some((_, task)) = self.running.take() {
            task.abort();
        }
        let Some(settings) = settings else { return self.limiter.end_exchange() };
        self.limiter.begin_exchange();
        let (limiter, started) = (Arc::clone(&self.limiter), self.started);
        let store = SharedStore::new(settings.clone());
        self.running = Some((settings.clone(), self.control.spawn(run(store, limiter, started))));
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if let Some((_, task)) = self.running.take() {
            task.abort();
        }
    }
}

async fn run(mut store: SharedStore, limiter: Arc<Limiter>, started: Instant) {
    let script = Script::new(ADD);
    let mut look = tokio::time::interval(EXCHANGE_EVERY);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut is_away = false;
    loop {
        look.tick().await;
        let outgoing = limiter.outgoing(started.elapsed());
        match exchange(&mut store, &script, &limiter, started, &outgoing).await {
            Ok(()) if is_away && !outgoing.is_empty() => {
                is_away = false;
                tracing::info!("the shared store answers again: rates hold for all replicas together");
            }
            Ok(()) => {}
            Err(error) => {
                if !is_away {
                    is_away = true;
                    tracing::warn!(
                        "the shared store cannot be used, and each replica counts by itself: {error}"
                    );
                }
                limiter.exchange_failed();
                tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
            }
        }
    }
}

/// Tells the store and learns from it, in parts; after a failure what was not told is told the next time.
async fn exchange(
    store: &mut SharedStore,
    script: &Script,
    limiter: &Limiter,
    started: Instant,
    outgoing: &[Outgoing],
) -> Result<(), StoreError> {
    for (index, part) in outgoing.chunks(PART_LEN).enumerate() {
        let asked = started.elapsed();
        let mut invocation = script.prepare_invoke();
        for one in part {
            let key: String = one.key.0.iter().map(|byte| format!("{byte:02x}")).collect();
            invocation.key(format!("{KEY_PREFIX}{key}"));
            invocation.arg(u64::try_from(one.add.as_micros()).unwrap_or(u64::MAX));
        }
        let answered = match store.run::<Vec<u64>>(&invocation).await {
            Ok(answered) if answered.len() == part.len() => Ok(answered),
            Ok(_) => Err(StoreError::Refused("the answer is too short".into())),
            Err(error) => Err(error),
        };
        match answered {
            Ok(answered) => {
                for (one, ahead) in part.iter().zip(answered) {
                    limiter.incoming(one, Duration::from_micros(ahead), asked);
                }
            }
            Err(error) => {
                outgoing[index * PART_LEN..].iter().for_each(|one| limiter.give_back(one));
                return Err(error);
            }
        }
    }
    Ok(())
}

/// Puts each number on by what its replica let through, and says how far it is ahead of now. In microseconds; a key lives no longer
/// than it is ahead.
const ADD: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local ahead = {}
for index, key in ipairs(KEYS) do
    local add = tonumber(ARGV[index])
    local due = tonumber(redis.call('GET', key) or '0')
    if due < now then due = now end
    due = due + add
    if add > 0 then
        redis.call('SET', key, string.format('%.0f', due), 'PX', math.ceil((due - now) / 1000) + 1)
    end
    ahead[index] = due - now
end
return ahead
";

/// Between two exchanges.
pub(crate) const EXCHANGE_EVERY: Duration = Duration::from_millis(75);
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(500);
/// Keys in one call, so that the store is never held up for long.
const PART_LEN: usize = 500;
const KEY_PREFIX: &str = "vestibule:limit:";
