//! Proving names: which are proved how; for those by DNS, where the records stand, who writes them, whether everyone sees them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use instant_acme::{AuthorizationStatus, ChallengeType, OrderStatus};
use jiff::Timestamp;
use tokio::time::{Instant, sleep};

use super::answer::words;
use super::reply::Reply;
use super::{Attempt, patience};
use crate::dns::{Check, describe, judge};
use crate::failure::Failure;
use crate::http::Recorder;
use crate::issuer::{Issuer, Solver};
use crate::name::Name;
use crate::provider::{ProviderError, Zone, candidates};
use crate::state::{Event, Record, What};

/// A value that the CA wants to see in DNS.
struct Proof {
    name: Name,
    value: String,
}

/// All values for one record, and where it is.
struct Place {
    solver: Solver,
    zone: Zone,
    record: String,
    values: Vec<String>,
}

impl Attempt<'_> {
    /// Brings an order from pending to ready.
    pub(super) async fn prove(
        &mut self,
        order: &mut instant_acme::Order,
        recorder: &Recorder,
    ) -> Result<(), Failure> {
        let (proofs, replies) = self.proofs(order, recorder).await?;
        let places = self.places(&proofs).await?;
        let now = self.now();
        for place in &places {
            for value in &place.values {
                self.state.remember(Record {
                    issuer: self.issuer.name().to_owned(),
                    name: place.record.clone(),
                    value: value.clone(),
                    written: now,
                });
            }
        }
        self.save().await?;
        for place in &places {
            self.fence()?;
            let added = place.solver.provider.add(&place.zone, &place.record, &place.values).await;
            added.map_err(|error| provider_failure(error, &place.solver, &place.record))?;
        }
        self.publish(&replies).await?;
        for place in &places {
            self.wait_for(place).await?;
        }
        for reply in &replies {
            self.wait_for_reply(reply).await?;
        }
        self.fence()?;
        self.set_ready(order, recorder).await?;
        let polled = order.poll_ready(&patience()).await;
        let failure = match polled {
            Ok(OrderStatus::Invalid) => None,
            Ok(_) => return Ok(()),
            Err(instant_acme::Error::Api(_)) if recorder.seen().status.is_some_and(|status| status < 400) => {
                None
            }
            Err(error) => Some(self.ca_failure(error, recorder)),
        };
        match failure {
            Some(failure) => Err(failure),
            // The order says that it failed; the authorization says why.
            None => Err(self.why_invalid(order, recorder, &places).await),
        }
    }

    /// What has to be proved still.
    async fn proofs(
        &self,
        order: &mut instant_acme::Order,
        recorder: &Recorder,
    ) -> Result<(Vec<Proof>, Vec<Reply>), Failure> {
        let (mut proofs, mut replies) = (Vec::new(), Vec::new());
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.map_err(|error| self.ca_failure(error, recorder))?;
            let name = Name::parse(&authorization.identifier().to_string()).map_err(|error| Failure::Ca {
                detail: format!("it asks for a name that is none: {error}"),
            })?;
            match authorization.status {
                AuthorizationStatus::Valid => continue,
                AuthorizationStatus::Pending => {}
                status => {
                    return Err(Failure::Ca {
                        detail: format!("the authorization for {name} is {status:?}"),
                    });
                }
            }
            let offered: Vec<String> =
                authorization.challenges.iter().map(|challenge| format!("{:?}", challenge.r#type)).collect();
            let (kind, wanted) = self.challenge(&name);
            let Some(challenge) = authorization.challenge(kind) else {
                return Err(Failure::NoChallenge { name, wanted, offered: offered.join(", ") });
            };
            let key_authorization = challenge.key_authorization();
            if self.issuer.http01_for(&name).is_some() {
                let (token, key_authorization) =
                    (challenge.token.clone(), key_authorization.as_str().to_owned());
                replies.push(Reply { name, token, key_authorization });
            } else {
                proofs.push(Proof { name, value: key_authorization.dns_value() });
            }
        }
        Ok((proofs, replies))
    }

    fn challenge(&self, name: &Name) -> (ChallengeType, &'static str) {
        match self.issuer.http01_for(name) {
            Some(_) => (ChallengeType::Http01, "http-01"),
            None => (ChallengeType::Dns01, "dns-01"),
        }
    }

    /// Where the proofs go. A name and the wildcard over it come together, so that one change writes both.
    async fn places(&self, proofs: &[Proof]) -> Result<Vec<Place>, Failure> {
        let mut records: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for proof in proofs {
            records.entry(proof.name.challenge_record()).or_default().push(proof.value.clone());
        }
        let mut places = Vec::new();
        for (record, values) in records {
            let target = self.issuer.dns.follow(&record).await;
            let target = target.map_err(|error| Failure::Dns { detail: error.to_string() })?;
            // A wildcard record makes an alias of every name. It is followed only to a zone that is ours.
            let delegated = match target == record {
                true => None,
                false => locate(self.issuer, &target).await.ok(),
            };
            let ((solver, zone), record) = match delegated {
                Some(place) => (place, target),
                None => (locate(self.issuer, &record).await?, record),
            };
            places.push(Place { solver, zone, record, values });
        }
        Ok(places)
    }

    /// Until every server that counts has the record, and then as long as the operator wants.
    async fn wait_for(&self, place: &Place) -> Result<(), Failure> {
        let propagation = &place.solver.propagation;
        if propagation.check != Check::Off {
            self.look_until_published(place).await?;
        }
        sleep(propagation.delay).await;
        Ok(())
    }

    async fn look_until_published(&self, place: &Place) -> Result<(), Failure> {
        let propagation = &place.solver.propagation;
        let (begun, mut interval) = (Instant::now(), LOOK_INTERVAL_MIN);
        loop {
            let seen = match self.issuer.dns.look(&propagation.check, &place.zone.name, &place.record).await {
                Ok(seen) => match judge(&seen, &place.values) {
                    Ok(()) => return Ok(()),
                    Err(seen) => seen,
                },
                Err(error) => error.to_string(),
            };
            if begun.elapsed() + interval > propagation.timeout {
                let (record, seconds) = (place.record.clone(), propagation.timeout.as_secs());
                return Err(Failure::Propagation { record, seconds, seen });
            }
            sleep(interval).await;
            interval = (interval * 2).min(LOOK_INTERVAL_MAX);
        }
    }

    async fn set_ready(&self, order: &mut instant_acme::Order, recorder: &Recorder) -> Result<(), Failure> {
        let failed = |error| self.ca_failure(error, recorder);
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.map_err(failed)?;
            if authorization.status != AuthorizationStatus::Pending {
                continue;
            }
            let name = Name::parse(&authorization.identifier().to_string());
            let kind = name.map_or(ChallengeType::Dns01, |name| self.challenge(&name).0);
            if let Some(mut challenge) = authorization.challenge(kind) {
                challenge.set_ready().await.map_err(failed)?;
            }
        }
        Ok(())
    }

    /// Finds the name whose proof the CA did not take, and what the servers say now.
    async fn why_invalid(
        &mut self,
        order: &mut instant_acme::Order,
        recorder: &Recorder,
        places: &[Place],
    ) -> Failure {
        let mut found = None;
        let mut authorizations = order.authorizations();
        while let Some(Ok(mut authorization)) = authorizations.next().await {
            if authorization.refresh().await.is_err() || authorization.status == AuthorizationStatus::Valid {
                continue;
            }
            let Ok(name) = Name::parse(&authorization.identifier().to_string()) else { continue };
            let problem = authorization.challenges.iter().find_map(|challenge| challenge.error.clone());
            if let Some(problem) = problem {
                found = Some((name, problem));
                break;
            }
        }
        let Some((name, problem)) = found else {
            let seen = recorder.seen();
            return match &order.state().error {
                Some(problem) => self.problem(problem, 400, seen.retry_after),
                None => {
                    Failure::Ca { detail: "the order became invalid, and it does not say why".to_owned() }
                }
            };
        };
        let (at, directory) = (self.now(), self.directory().to_owned());
        self.state.note(Event { at, directory, what: What::ProofFailed { name: name.clone() } });
        self.state.rehearse = self.issuer.staging.is_some() && !self.is_rehearsal;
        match problem.r#type.as_deref() {
            Some("urn:ietf:params:acme:error:caa") => return Failure::Caa { detail: words(&problem) },
            Some("urn:ietf:params:acme:error:rateLimited") => return self.problem(&problem, 429, None),
            _ => {}
        }
        if self.issuer.http01_for(&name).is_some() {
            return Failure::Proof { name, detail: words(&problem), seen: String::new() };
        }
        let record = name.challenge_record();
        let place = places.iter().find(|place| place.record == record).or(places.first());
        let seen = match place {
            Some(place) => {
                let check = &place.solver.propagation.check;
                match self.issuer.dns.look(check, &place.zone.name, &place.record).await {
                    Ok(seen) => format!("At {}: {}", place.record, describe(&seen)),
                    Err(error) => error.to_string(),
                }
            }
            None => String::new(),
        };
        Failure::Proof { name, detail: words(&problem), seen }
    }
}

/// Takes away the records in `records`; returns those that are still there, and why.
///
/// It is done by name and value, whoever wrote them. It delays nobody: a certificate is stored before.
pub(crate) async fn clean_up(
    issuers: &[Arc<Issuer>],
    records: Vec<Record>,
    now: Timestamp,
) -> (Vec<Record>, Option<Failure>) {
    let mut by_place: BTreeMap<(String, String), Vec<Record>> = BTreeMap::new();
    for record in records {
        by_place.entry((record.issuer.clone(), record.name.clone())).or_default().push(record);
    }
    let (mut left, mut why) = (Vec::new(), None);
    for ((issuer, name), records) in by_place {
        // With the issuer its credentials are gone, too. What nobody can remove for a month is given up.
        let is_old = |record: &Record| now.duration_since(record.written) > RECORD_AGE_MAX;
        let Some(issuer) = issuers.iter().find(|known| known.name() == issuer) else {
            left.extend(records.into_iter().filter(|record| !is_old(record)));
            continue;
        };
        let removed = async {
            let (solver, zone) = locate(issuer, &name).await?;
            let values: Vec<String> = records.iter().map(|record| record.value.clone()).collect();
            let removed = solver.provider.remove(&zone, &name, &values).await;
            removed.map_err(|error| provider_failure(error, &solver, &name))
        };
        if let Err(failure) = removed.await {
            tracing::warn!(issuer = issuer.name(), record = name, "a proof is still in DNS: {failure}");
            why = Some(failure);
            left.extend(records.into_iter().filter(|record| !is_old(record)));
        }
    }
    (left, why)
}

/// The solver and the zone for a record.
async fn locate(issuer: &Issuer, record: &str) -> Result<(Solver, Zone), Failure> {
    let mut missing = None;
    for (solver, zone) in issuer.solvers_for(record) {
        let sought: Vec<&str> = zone.map_or_else(|| candidates(record).collect(), |zone| vec![zone]);
        for candidate in &sought {
            match solver.provider.zone(candidate).await {
                Ok(Some(zone)) => return Ok((solver.clone(), zone)),
                Ok(None) => {}
                Err(error) => return Err(provider_failure(error, solver, record)),
            }
        }
        missing.get_or_insert_with(|| Failure::ZoneMissing {
            provider: solver.provider.kind(),
            record: record.to_owned(),
            detail: format!("none of {} is there, or the credentials may not see it", sought.join(", ")),
        });
    }
    Err(missing.unwrap_or_else(|| Failure::NoSolver { record: record.to_owned() }))
}

fn provider_failure(error: ProviderError, solver: &Solver, record: &str) -> Failure {
    let provider = solver.provider.kind();
    match error {
        ProviderError::Credentials(detail) => Failure::Credentials { provider, detail },
        ProviderError::Throttled(detail) => Failure::ProviderThrottled { provider, detail },
        ProviderError::Unavailable(detail) | ProviderError::Refused(detail) => {
            Failure::Provider { provider, record: record.to_owned(), detail }
        }
    }
}

pub(super) const LOOK_INTERVAL_MIN: Duration = Duration::from_millis(250);
pub(super) const LOOK_INTERVAL_MAX: Duration = Duration::from_secs(10);
/// A record that cannot be taken away is tried for this long.
const RECORD_AGE_MAX: jiff::SignedDuration = jiff::SignedDuration::from_hours(30 * 24);
