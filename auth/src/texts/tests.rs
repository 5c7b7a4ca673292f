use proptest::prelude::*;

use super::*;

#[test]
fn no_text_runs_into_another() {
    let mut texts = Texts::from(["ab", "", "c", "äö"]);
    assert_eq!(texts.iter().collect::<Vec<_>>(), ["ab", "", "c", "äö"]);
    assert!(texts.contains("ab") && texts.contains("") && texts.contains("äö"));
    for other in ["a", "abc", "bc", "ä", "x"] {
        assert!(!texts.contains(other), "{other}");
    }
    assert_ne!(texts, Texts::from(["abc", "äö"]));
    assert_ne!(Texts::from(["a", "bc"]), Texts::from(["ab", "c"]));
    texts.extend(["d"]);
    assert_eq!((texts.len(), texts.bytes_len(), texts.is_empty()), (5, 8, false));
    assert_eq!(format!("{texts:?}"), r#"["ab", "", "c", "äö", "d"]"#);
    assert_eq!(serde_json::to_string(&texts).expect("JSON"), r#"["ab","","c","äö","d"]"#);
}

#[test]
fn an_empty_list_holds_nothing_not_even_the_empty_text() {
    let none = Texts::default();
    assert!(none.is_empty() && !none.contains("") && none.iter().next().is_none());
    assert_ne!(none, Texts::from([""]));
}

proptest! {
    #[test]
    fn what_goes_in_comes_out(texts in prop::collection::vec(".{0,8}", 0..20)) {
        let joined: Texts = texts.iter().collect();
        prop_assert_eq!(&joined, &texts[..]);
        prop_assert_eq!(joined.iter().len(), texts.len());
    }
}
