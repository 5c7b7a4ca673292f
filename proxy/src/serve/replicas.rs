//! The port between replicas, as the control side keeps it: who the others are, and which keys are in force.

use std::time::Instant;

use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::ServeError;
use super::source::Source;
use crate::cluster::replica_keys::KEYS;
use crate::config::status::Statuses;
use crate::options::Role;
use crate::replicas::key::CallKeys;
use crate::replicas::members::{of_list, of_service};
use crate::replicas::poll::Surroundings;
use crate::replicas::programmed::{Confirmations, Judged};
use crate::replicas::{Applied, Replicas, listening};
use crate::settings::Settings;

/// The port, where there is one.
pub(super) struct Port {
    open: Option<Open>,
}

struct Open {
    replicas: Replicas,
    surroundings: watch::Receiver<Surroundings>,
    confirmations: Confirmations,
    /// Digest of the text in force.
    keys: Option<[u8; 32]>,
}

impl Port {
    /// Listens where the settings say.
    pub(super) async fn open(settings: &Settings, role: Role, source: &Source) -> Result<Port, ServeError> {
        let Some(address) = settings.replicas.listen else { return Ok(Port { open: None }) };
        let failed = |source| ServeError::Replicas { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        listening(listener.local_addr().map_err(failed)?);
        let replicas = Replicas::start(listener, role);
        if let Some(leads) = source.leads() {
            replicas.ask_others(leads);
        }
        let surroundings = replicas.surroundings();
        let confirmations = Confirmations::default();
        Ok(Port { open: Some(Open { replicas, surroundings, confirmations, keys: None }) })
    }

    /// The way to the others.
    pub(super) fn replicas(&self) -> Option<Replicas> {
        self.open.as_ref().map(|open| open.replicas.clone())
    }

    /// Takes up who the others are and which keys there are. An error leaves the keys that were; it never shows them.
    pub(super) fn look(
        &mut self,
        settings: &Settings,
        source: &Source,
        now: Timestamp,
    ) -> Result<(), String> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let objects = source.objects();
        match settings.replicas.service() {
            // Before every kind was listed it is not known who there is.
            Some((namespace, name)) if source.is_complete() => {
                open.replicas.set_members(of_service(objects, namespace, name));
            }
            Some(_) => {}
            None => open.replicas.set_members(of_list(&settings.replicas.addresses)),
        }
        match (source.namespace(), &settings.replicas.key_file) {
            (_, Some(file)) => {
                let keys = CallKeys::from_file(file, now);
                open.replicas.set_keys(keys.map_err(|error| format!("{}: {error}", file.display()))?);
                Ok(())
            }
            (Some(namespace), None) => {
                let name = &settings.replicas.secret;
                let secret = objects.secrets.find(namespace, name);
                let value = secret.and_then(|secret| secret.data.get(KEYS));
                let value = value.ok_or_else(|| {
                    format!("there are no keys in the Secret {namespace}/{name} yet; the replica that leads makes them")
                })?;
                open.take_text(value.expose())
                    .map_err(|error| format!("the Secret {namespace}/{name}: {error}"))
            }
            (None, None) => Err("there is no `keyFile`".to_owned()),
        }
    }

    /// Says what is live here.
    pub(super) fn applied(&self, applied: Applied) {
        if let Some(open) = &self.open {
            open.replicas.set_applied(applied);
        }
    }

    /// What may be written of these statuses by what the others serve; `None`: all, for there are no others to ask.
    pub(super) fn judge(&mut self, statuses: &Statuses, now: Instant) -> Option<Judged> {
        let open = self.open.as_mut()?;
        let surroundings = open.surroundings.borrow().clone();
        Some(open.confirmations.judge(statuses, &surroundings, now))
    }

    /// Waits until another replica serves something else than before. Safe to drop before it is ready.
    pub(super) async fn changed(&mut self) {
        let changed = match &mut self.open {
            Some(open) => open.surroundings.changed().await.is_ok(),
            None => false,
        };
        if !changed {
            std::future::pending::<()>().await;
        }
    }
}

impl Open {
    fn take_text(&mut self, text: &[u8]) -> Result<(), String> {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text);
        let digest: [u8; 32] = digest.as_ref().try_into().unwrap_or_default();
        if self.keys == Some(digest) {
            return Ok(());
        }
        let text = std::str::from_utf8(text).map_err(|_| "it holds no keys".to_owned())?;
        self.replicas.set_keys(CallKeys::parse(text).map_err(|error| error.to_string())?);
        self.keys = Some(digest);
        Ok(())
    }
}
