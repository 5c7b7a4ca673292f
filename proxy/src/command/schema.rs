//! `vestibule schema`: what can be written in the settings and in annotations, as JSON Schema (2020-12).

use std::io::Write;

use serde_json::{Map, Value, json};

use super::{Failure, Outcome};
use crate::config::annotations::PREFIX;
use crate::config::annotations::keys::{KEYS, Takes};
use crate::options::{Schema, SchemaOf};
use crate::settings::Settings;

pub(super) fn run(options: &Schema, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let schema = match options.of {
        SchemaOf::Settings => Settings::schema(),
        SchemaOf::Annotations => annotations(),
    };
    writeln!(out, "{schema:#}")?;
    Ok(Outcome::Done)
}

/// The annotations of one object. Keys with other prefixes are other people's.
pub(super) fn annotations() -> Value {
    let mut properties = Map::new();
    for key in KEYS {
        for name in key.names() {
            let on = match key.takes {
                Takes::Ingress => "Ingress",
                Takes::Routes => "Ingress, HTTPRoute and GRPCRoute",
                Takes::Relays => "TLSRoute and TCPRoute",
            };
            let same = if name == key.name { String::new() } else { format!(" The same as `{}`.", key.name) };
            let guards =
                if key.guards_access { " Guards access: a wrong value refuses the routes." } else { "" };
            let description = format!("{} Write {}. On {on}.{same}{guards}", key.doc, key.setter.expects());
            properties
                .insert(format!("{PREFIX}{name}"), json!({"type": "string", "description": description}));
        }
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Annotations that Vestibule reads",
        "type": "object",
        "properties": properties,
        "patternProperties": {format!("^(?!{})", PREFIX.replace('.', "\\.")): {"type": "string"}},
        "additionalProperties": false,
    })
}
