use super::*;

const MANIFEST: &str = "\
# A comment first.
---
apiVersion: v1
kind: Service
metadata: {name: web}
---
kind: Ingress
metadata:
  name: shop
  annotations:
    example.com/other: x
    vestibule.dev/auth: dex
spec:
  rules:
    - host: a
    - host: b
      http:
        paths:
          - path: /
            backend: {service: {name: web}}
          - path: /x
            backend:
              service:
                name: web
";

#[test]
fn a_field_is_found_by_its_path() {
    assert_eq!(position(MANIFEST, 7, "spec.rules[1].http.paths[1].backend.service.name"), Some((24, 17)));
    assert_eq!(position(MANIFEST, 7, "metadata.annotations['vestibule.dev/auth']"), Some((12, 5)));
    assert_eq!(position(MANIFEST, 3, "metadata.name"), Some((5, 12)));
    assert_eq!(position(MANIFEST, 7, ""), Some((7, 1)));
}

#[test]
fn a_field_that_is_not_written_is_placed_at_its_ancestor() {
    assert_eq!(position(MANIFEST, 7, "spec.rules[1].http.paths[7].backend"), Some((18, 9)));
    assert_eq!(position(MANIFEST, 7, "spec.tls[0]"), Some((13, 1)));
    assert_eq!(position(MANIFEST, 7, "spec.rules.name"), Some((14, 3)));
}

#[test]
fn nothing_is_found_behind_the_end_or_behind_a_syntax_error() {
    assert_eq!(position(MANIFEST, 99, "spec"), None);
    assert_eq!(position("a: [\n", 2, "a"), None);
}

#[test]
fn paths_are_split_at_dots_and_brackets() {
    use Segment::{Index, Key};
    assert_eq!(
        parse_path("a.b[0]['c.d/e'].f"),
        [Key("a".into()), Key("b".into()), Index(0), Key("c.d/e".into()), Key("f".into())]
    );
    assert_eq!(parse_path("a[x].b"), [Key("a".into())]);
}

#[test]
fn errors_are_one_line_with_their_place() {
    let error = from_str::<crate::settings::Settings>("limits:\n  headrs: 3\n").unwrap_err();
    assert_eq!((error.line, error.column), (2, 3));
    assert_eq!(error.message, "unknown key `headrs`; did you mean `headers`?");
    let error = from_str::<crate::settings::Settings>("limits:\n  headers: many\n").unwrap_err();
    assert_eq!(error.line, 2);
    assert!(!error.message.contains('\n'), "{}", error.message);
}

#[test]
fn edit_distance_counts_single_changes() {
    assert_eq!(edit_distance("clases", "classes"), 1);
    assert_eq!(edit_distance("Classes", "classes"), 0);
    assert_eq!(edit_distance("", "abc"), 3);
}
