use http::HeaderValue;

use super::*;

/// `htpasswd -nbB -C 4`, and what `openssl passwd -apr1` and the argon2 command make of `secret`.
fn users() -> Users {
    let bcrypt = bcrypt::hash_with_salt("secret", 4, *b"0123456789abcdef").expect("a hash");
    let text = format!(
        "# people\n\nada:{}\nbob:$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/\neve:{ARGON2}\n",
        bcrypt.format_for_version(bcrypt::Version::TwoY)
    );
    Users::parse(&text, ["people"].into()).expect("users")
}

fn credentials(user: &str, password: &str) -> Credentials {
    Credentials { user: user.into(), password: Secret::new(password) }
}

fn now() -> Timestamp {
    Timestamp::from_second(1_790_000_000).expect("a time")
}

#[test]
fn each_kind_of_hash_takes_its_password_and_no_other() {
    let users = users();
    for user in ["ada", "bob", "eve"] {
        assert!(users.check(&credentials(user, "secret")), "{user}");
        for wrong in ["", "Secret", "secret ", "secre", "\0"] {
            assert!(!users.check(&credentials(user, wrong)), "{user} {wrong:?}");
        }
    }
    for nobody in ["", "mallory", "ADA"] {
        assert!(!users.check(&credentials(nobody, "secret")));
    }
    assert_eq!(users.identity(&credentials("ada", "secret")).groups, ["people"]);
}

#[test]
fn apr1_is_what_openssl_makes() {
    for (salt, password, expected) in [
        ("abcdefgh", "secret", "h9FWgUz3n9YxylKLlR5SQ/"),
        ("x", "l\u{e4}ngeres Passwort mit mehr als sechzehn Zeichen", "lJPjH6KJ3kKO7MYsv.VQc0"),
        ("", "", "J/S5FGXXjRRxbhIznTb/E1"),
    ] {
        assert_eq!(apr1::digest(password.as_bytes(), salt.as_bytes()), expected);
    }
}

#[test]
fn a_file_that_cannot_be_used_says_where_and_why() {
    let bcrypt = |cost: &str| format!("ada:$2y${cost}${}", "a".repeat(53));
    for (text, error) in [
        ("", HtpasswdError::Empty),
        ("# nobody\n", HtpasswdError::Empty),
        ("\nada", HtpasswdError::Form { line: 2 }),
        (":$apr1$a$b", HtpasswdError::Form { line: 1 }),
        ("ada:secret", HtpasswdError::Kind { line: 1, user: "ada".into() }),
        ("ada:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=", HtpasswdError::Kind { line: 1, user: "ada".into() }),
        ("ada:", HtpasswdError::Kind { line: 1, user: "ada".into() }),
        ("ada:$apr1$abcdefgh$short", HtpasswdError::Damaged { line: 1, user: "ada".into() }),
        ("ada:$2y$10$short", HtpasswdError::Damaged { line: 1, user: "ada".into() }),
        ("ada:$argon2id$v=19$m=1", HtpasswdError::Damaged { line: 1, user: "ada".into() }),
        (&bcrypt("16"), HtpasswdError::Costly { line: 1, user: "ada".into() }),
        (
            &format!("ada:{}", ARGON2.replace("m=256", "m=1048576")),
            HtpasswdError::Costly { line: 1, user: "ada".into() },
        ),
        (
            &format!("ada:{}", ARGON2.replace("t=1", "t=17")),
            HtpasswdError::Costly { line: 1, user: "ada".into() },
        ),
        (
            "ada:$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/\nada:$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/",
            HtpasswdError::Twice { line: 2, user: "ada".into() },
        ),
    ] {
        assert_eq!(Users::parse(text, Texts::default()), Err(error), "{text}");
    }
    assert!(Users::parse(&bcrypt("15"), Texts::default()).is_ok());
    let many = |count: usize| {
        (0..count).map(|n| format!("u{n}:$apr1$$J/S5FGXXjRRxbhIznTb/E1\n")).collect::<String>()
    };
    assert!(Users::parse(&many(USERS_LEN_MAX), Texts::default()).is_ok());
    assert_eq!(Users::parse(&many(USERS_LEN_MAX + 1), Texts::default()), Err(HtpasswdError::TooMany));
}

#[test]
fn credentials_are_read_or_refused() {
    let read = |value: &str| {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_str(value).expect("a value"));
        Credentials::of(&headers)
    };
    let encoded = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    for scheme in ["Basic", "basic", "BASIC"] {
        assert_eq!(read(&format!("{scheme} {}", encoded("ada:a:b"))), Some(Ok(credentials("ada", "a:b"))));
    }
    assert_eq!(read(encoded("ada:x").as_str()), None);
    assert_eq!(read("Bearer abc"), None);
    assert_eq!(read("Basic"), None);
    assert_eq!(read("Basic YWRhOng"), Some(Ok(credentials("ada", "x"))), "padding may be left out");
    for malformed in
        ["ada", ":x", "ada\n:x", "ada:\0", "\u{7f}a:x", &format!("a:{}", "x".repeat(PASSWORD_BYTES_MAX + 1))]
    {
        assert_eq!(
            read(&format!("Basic {}", encoded(malformed))),
            Some(Err(Invalid::Malformed)),
            "{malformed:?}"
        );
    }
    assert!(matches!(
        read(&format!("Basic {}", encoded(&format!("a:{}", "x".repeat(PASSWORD_BYTES_MAX))))),
        Some(Ok(_))
    ));
    assert_eq!(read("Basic !!!!"), Some(Err(Invalid::Malformed)));
    let mut twice = HeaderMap::new();
    for user in ["ada:x", "bob:x"] {
        let value = format!("Basic {}", encoded(user));
        twice.append(AUTHORIZATION, HeaderValue::from_str(&value).expect("a value"));
    }
    assert_eq!(Credentials::of(&twice), Some(Err(Invalid::Malformed)));
    assert!(!format!("{:?}", credentials("ada", "hunter2")).contains("hunter2"));
}

#[test]
fn what_was_verified_is_remembered_for_a_while_and_for_this_password_only() {
    let users = users();
    let verified = Verified::new().expect("random");
    let ada = credentials("ada", "secret");
    assert!(!verified.recall(&users, &ada, now()));
    verified.remember(&users, &ada, now());
    assert!(verified.recall(&users, &ada, now()));
    assert!(!verified.recall(&users, &credentials("ada", "other"), now()));
    assert!(!verified.recall(&users, &credentials("bob", "secret"), now()));
    assert!(!verified.recall(&users, &ada, now() + VERIFIED_FOR));
    let changed = Users::parse("ada:$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/", Texts::default()).expect("users");
    assert!(!verified.recall(&changed, &ada, now()), "the hash is another one now");
}

#[test]
fn no_more_is_remembered_than_the_bound() {
    let lines = (0..VERIFIED_LEN_MAX + 1).map(|n| format!("u{n}:$apr1$$J/S5FGXXjRRxbhIznTb/E1\n"));
    let users = Users::parse(&lines.collect::<String>(), Texts::default()).expect("users");
    let verified = Verified::new().expect("random");
    for n in 0..=VERIFIED_LEN_MAX {
        verified.remember(&users, &credentials(&format!("u{n}"), ""), now());
    }
    let length = verified.until.lock().expect("a lock").len();
    assert!(length <= VERIFIED_LEN_MAX, "{length}");
    assert!(verified.recall(&users, &credentials(&format!("u{VERIFIED_LEN_MAX}"), ""), now()));
}

/// Of `secret`: `argon2 saltsalt -id -t 1 -k 256 -p 1 -e`.
const ARGON2: &str = "$argon2id$v=19$m=256,t=1,p=1$c2FsdHNhbHQ$lMZ3qepwpR/DVeTzcMSEh3OjqCJg8oOzHPIw8cZ1uXY";
