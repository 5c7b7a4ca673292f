//! The words of pages about access, in the languages that are spoken here. Everything else is said in English.

use http::HeaderMap;
use http::header::ACCEPT_LANGUAGE;

use ::auth::Denied;

use super::page::split_range;
use super::{Forbidden, Reject};

/// A language of the pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Language {
    #[default]
    English,
    German,
}

/// The words around what a page says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    /// Before and after whom to tell that something does not work.
    pub(super) tell: (&'static str, &'static str),
    /// Before and after whom to ask for access.
    pub(super) ask: (&'static str, &'static str),
    /// The same, where nobody is named.
    pub(super) ask_somebody: &'static str,
    pub(super) error: &'static str,
    pub(super) request: &'static str,
    pub(super) signed_out: (&'static str, &'static str),
    pub(super) sign_in_again: &'static str,
    /// A login that did not succeed.
    pub(super) not_signed_in: (&'static str, &'static str),
    /// A logout that nobody here has asked for.
    pub(super) not_signed_out: (&'static str, &'static str),
    pub(super) try_again: &'static str,
}

impl Language {
    /// The one that the client likes best of those that are spoken here (RFC 9110 §12.5.4); English for everyone else.
    pub fn of(headers: &HeaderMap) -> Language {
        let mut best = (0, Language::English);
        for value in headers.get_all(ACCEPT_LANGUAGE) {
            for range in value.as_bytes().split(|byte| *byte == b',') {
                let (tag, weight) = split_range(range);
                let primary = tag.split(|byte| *byte == b'-').next().unwrap_or_default();
                let language = if primary.eq_ignore_ascii_case(b"de") {
                    Language::German
                } else if primary.eq_ignore_ascii_case(b"en") || primary == b"*" {
                    Language::English
                } else {
                    continue;
                };
                if weight > best.0 {
                    best = (weight, language);
                }
            }
        }
        best.1
    }

    /// As it stands in `lang` (BCP 47).
    pub fn tag(self) -> &'static str {
        match self {
            Language::English => "en",
            Language::German => "de",
        }
    }

    pub(super) fn frame(self) -> &'static Frame {
        match self {
            Language::English => &ENGLISH,
            Language::German => &GERMAN,
        }
    }
}

impl Reject {
    /// Heading and sentence in this language, or in English where they are said in no other; with the language they are in.
    pub(super) fn words_in(&self, language: Language) -> ((&'static str, &'static str), Language) {
        let german = match self {
            Reject::Unauthenticated(_) => {
                Some(("Bitte anmelden", "Diese Seite ist nur für angemeldete Personen."))
            }
            Reject::Forbidden(_) => Some(("Kein Zugang", "Diese Seite dürfen Sie nicht öffnen.")),
            Reject::Unidentified(_) => Some((
                "Kein Zugang",
                "Der Anmeldedienst hat nicht gesagt, wer Sie sind, deshalb bleibt diese Seite geschlossen. Vielleicht hilft \
                 es, sich neu anzumelden.",
            )),
            Reject::AuthUnavailable(_) => Some((
                "Anmeldung nicht erreichbar",
                "Diese Seite ist nur für angemeldete Personen, und der Dienst, der das prüft, antwortet gerade nicht. Es liegt \
                 nicht an Ihnen und nicht an Ihrem Passwort. Bitte versuchen Sie es in einer Minute noch einmal.",
            )),
            _ => None,
        };
        match (language, german) {
            (Language::German, Some(german)) => (german, Language::German),
            (Language::German | Language::English, _) => (self.words(), Language::English),
        }
    }

    /// What the page says besides: who someone is taken for, and what is missing.
    pub(super) fn more(&self, language: Language) -> Vec<String> {
        match self {
            Reject::Forbidden(forbidden) => forbidden.lines(language),
            Reject::WakeTimeout(Some(trouble)) => vec![trouble.reason.words().to_owned()],
            _ => Vec::new(),
        }
    }

    /// Whether the page should say whom to ask for access, and not whom to tell of a fault.
    pub(super) fn asks_for_access(&self) -> bool {
        matches!(self, Reject::Forbidden(_))
    }
}

impl Forbidden {
    fn lines(&self, language: Language) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(who) = &self.who {
            lines.push(match language {
                Language::English => format!("You are signed in as {who}."),
                Language::German => format!("Sie sind angemeldet als {who}."),
            });
        }
        match (&self.denied, language) {
            (Some(Denied::NotAllowed { wanted }), Language::English) => {
                lines.push(format!("It is open to: {wanted}."));
            }
            (Some(Denied::NotAllowed { wanted }), Language::German) => {
                lines.push(format!("Zugang hat: {wanted}."));
            }
            (Some(Denied::EmailUnverified), Language::English) => {
                lines.push("Your mail address would do, but it has not been confirmed yet: confirm it where you sign in.".into());
            }
            (Some(Denied::EmailUnverified), Language::German) => {
                lines.push("Ihre Mailadresse würde genügen, ist aber noch nicht bestätigt: Bestätigen Sie sie dort, wo Sie sich anmelden.".into());
            }
            (Some(Denied::Excluded), Language::English) => {
                lines.push("This account has been excluded from it.".into());
            }
            (Some(Denied::Excluded), Language::German) => {
                lines.push("Dieses Konto ist davon ausgeschlossen.".into());
            }
            (None, Language::English | Language::German) => {}
        }
        lines
    }
}

static ENGLISH: Frame = Frame {
    tell: ("If it stays like this, please tell", "and name the number below."),
    ask: ("If you need access, ask", "and name the number below."),
    ask_somebody: "If you need access, ask whoever gave you this address, and name the number below.",
    error: "Error",
    request: "Request",
    signed_out: ("Signed out", "You are signed out. If others use this device, close the browser, too."),
    sign_in_again: "Sign in again",
    not_signed_in: ("Not signed in", "Signing in did not work. Trying again helps in most cases."),
    not_signed_out: ("Not signed out", "Another site asked to sign you out, and that was not done."),
    try_again: "Try again",
};

static GERMAN: Frame = Frame {
    tell: ("Wenn es so bleibt, sagen Sie es bitte", "und nennen Sie die Nummer unten."),
    ask: ("Wenn Sie Zugang brauchen, fragen Sie", "und nennen Sie die Nummer unten."),
    ask_somebody: "Wenn Sie Zugang brauchen, fragen Sie die Person, von der Sie diese Adresse haben, und nennen Sie die Nummer unten.",
    error: "Fehler",
    request: "Anfrage",
    signed_out: (
        "Abgemeldet",
        "Sie sind abgemeldet. Nutzen andere dieses Gerät, schließen Sie bitte auch den Browser.",
    ),
    sign_in_again: "Wieder anmelden",
    not_signed_in: (
        "Nicht angemeldet",
        "Die Anmeldung hat nicht geklappt. Meistens hilft ein neuer Versuch.",
    ),
    not_signed_out: (
        "Nicht abgemeldet",
        "Eine andere Seite wollte Sie abmelden, und das ist nicht geschehen.",
    ),
    try_again: "Noch einmal versuchen",
};
