//! What the README promises: its commands are run, and must answer what stands below them.
//!
//! Commands are the lines after `$ ` in the blocks marked `console`. In an answer `…` stands for any part of a line, and
//! alone on a line for any number of lines. What differs from run to run (request ids, dates, lengths, the version of curl)
//! is made the same on both sides; ports are free ones, in the copies of the manifests and in the commands alike.
//! With `UPDATE_README=1` the answers are written to standard output as they are.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use tests::process::{Process, binary, run};

/// A command with the answer that the README gives.
#[derive(Debug)]
struct Example {
    command: String,
    answer: Vec<String>,
}

#[test]
fn the_commands_of_the_readme_answer_what_it_says() {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("the README");
    let mut examples = examples(&readme).into_iter();
    let ports = Ports::choose();
    let directory = tempfile::tempdir().expect("a directory");
    let manifests = directory.path().join("examples/quickstart");
    std::fs::create_dir_all(&manifests).expect("a directory");
    for file in std::fs::read_dir(root().join("examples/quickstart")).expect("the examples") {
        let file = file.expect("a file");
        let text = std::fs::read_to_string(file.path()).expect("a manifest");
        std::fs::write(manifests.join(file.file_name()), ports.replace(&text)).expect("room for a file");
    }

    let first = examples.next().expect("the command that starts everything");
    let flags =
        first.command.strip_prefix("cargo run --release -- ").expect("the first command is cargo run");
    let flags = ports.replace(flags);
    // The README's command takes the default addresses; here they must be free ones.
    let own = format!(
        "--http 127.0.0.1:{} --https 127.0.0.1:{} --admin 127.0.0.1:0",
        ports.of(8080),
        ports.of(8443)
    );
    let mut serve = Command::new(binary());
    serve.current_dir(directory.path()).args(flags.split_whitespace()).args(own.split(' '));
    let process = Process::start(&mut serve);
    process.wait_until_ready();
    let admin = format!("vestibule explain --admin {}", process.admin());

    let mut run = 0;
    for example in examples {
        let command = example.command.replace("vestibule explain", &admin);
        let answer = answer(&command, &ports, directory.path());
        if std::env::var_os("UPDATE_README").is_some() {
            println!("$ {}\n{answer}", example.command);
        } else {
            let given = normalised(&answer);
            let expected: Vec<String> = example.answer.iter().map(|line| normalise(line)).collect();
            assert!(
                matches(&expected, &given),
                "$ {}\nanswers\n{}\nand not\n{}",
                example.command,
                given.join("\n"),
                expected.join("\n")
            );
        }
        run += 1;
    }
    assert!(run >= 8, "only {run} commands were found");
}

#[test]
fn the_examples_have_no_problem() {
    let ended = run([Path::new("check"), &root().join("examples/quickstart")]);
    assert_eq!(ended.code, Some(0), "{}", ended.out);
    assert!(ended.out.ends_with("No problems.\n"), "{}", ended.out);
}

#[test]
fn the_readme_names_what_is_there() {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("the README");
    let links = readme.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let files: Vec<&str> = links.filter(|link| !link.contains("://") && !link.starts_with('#')).collect();
    assert!(!files.is_empty());
    for file in files {
        assert!(root().join(file).exists(), "the README points to {file}, which is not there");
    }
}

#[test]
fn answers_are_compared_by_their_lines() {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let same = |expected: &str, given: &str| matches(&lines(expected), &lines(given));
    assert!(same("a\nb", "a\nb"));
    assert!(!same("a\nb", "a\nc") && !same("a", "a\nb") && !same("a\nb", "a"));
    assert!(same("a…z\n…\nend", "abcz\n1\n2\nend") && same("a\n…", "a"));
    assert!(!same("a…z", "abc") && !same("…b…", "ac") && !same("a…b…a", "aba b"));
    assert_eq!(normalise("Content-Length: 12"), normalise("content-length: 345"));
    assert_eq!(normalise("id: 0123456789abcdef0123456789abcdef"), "id: (id)");
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn examples(readme: &str) -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    let (mut inside, mut goes_on) = (false, false);
    for line in readme.lines() {
        if line.starts_with("```") {
            inside = line == "```console";
            continue;
        }
        if !inside {
            continue;
        }
        let begins = line.strip_prefix("$ ").map(|command| (command, true));
        let command = begins.or(goes_on.then_some((line.trim(), false)));
        if let Some((command, is_new)) = command {
            goes_on = command.ends_with('\\');
            let command = command.trim_end_matches('\\').trim_end();
            if is_new {
                examples.push(Example { command: command.to_owned(), answer: Vec::new() });
            } else if let Some(example) = examples.last_mut() {
                example.command = format!("{} {command}", example.command);
            }
        } else if let Some(example) = examples.last_mut() {
            example.answer.push(line.to_owned());
        }
    }
    // An empty line between an answer and the next command is for the eye.
    for example in &mut examples {
        while example.answer.last().is_some_and(String::is_empty) {
            example.answer.pop();
        }
    }
    examples
}

fn answer(command: &str, ports: &Ports, directory: &Path) -> String {
    let command = ports.replace(command).replace("target/release/vestibule", &binary().to_string_lossy());
    let output = Command::new("bash").arg("-c").arg(&command).current_dir(directory).output();
    let output =
        output.unwrap_or_else(|error| panic!("`{command}` does not run: {error}; install bash and curl"));
    assert_ne!(output.status.code(), Some(127), "{}", String::from_utf8_lossy(&output.stderr));
    ports.put_back(&String::from_utf8(output.stdout).expect("UTF-8"))
}

/// The ports of the README, each with a free one of as many digits that stands in for it.
struct Ports(Vec<(String, String)>);

impl Ports {
    fn choose() -> Self {
        let mut chosen = Vec::new();
        let mut candidates = 2000..10_000_u16;
        // The process ids of tests that run at the same time differ, and with them where they begin to look.
        candidates.nth(std::process::id() as usize % 6000);
        for port in ["8080", "8443", "8000", "9001", "9002"] {
            let free = candidates
                .by_ref()
                .find(|free| TcpListener::bind(("127.0.0.1", *free)).is_ok())
                .expect("a free port below 10000");
            chosen.push((port.to_owned(), free.to_string()));
        }
        Ports(chosen)
    }

    fn of(&self, port: u16) -> &str {
        let port = port.to_string();
        self.0.iter().find(|(known, _)| *known == port).map(|(_, free)| free.as_str()).expect("a known port")
    }

    fn replace(&self, text: &str) -> String {
        let forward = self.0.iter().map(|(port, free)| (port.as_str(), free.as_str()));
        swap(text, &forward.collect::<Vec<_>>())
    }

    fn put_back(&self, text: &str) -> String {
        let back = self.0.iter().map(|(port, free)| (free.as_str(), port.as_str()));
        swap(text, &back.collect::<Vec<_>>())
    }
}

/// Replaces whole numbers, all at once: what was put in is not replaced again.
fn swap(text: &str, pairs: &[(&str, &str)]) -> String {
    let mut swapped = String::new();
    for part in text.split_inclusive(|character: char| !character.is_ascii_alphanumeric()) {
        let end = part.trim_end_matches(|character: char| !character.is_ascii_alphanumeric()).len();
        let (word, rest) = part.split_at(end);
        swapped.push_str(pairs.iter().find(|(from, _)| *from == word).map_or(word, |(_, to)| to));
        swapped.push_str(rest);
    }
    swapped
}

fn normalised(answer: &str) -> Vec<String> {
    let mut lines: Vec<String> = answer.lines().map(normalise).collect();
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    lines
}

/// One line without what differs from run to run.
fn normalise(line: &str) -> String {
    let line = line.trim_end();
    for field in ["date", "content-length"] {
        if line.to_ascii_lowercase().starts_with(&format!("{field}: ")) {
            return format!("{field}: (varies)");
        }
    }
    let mut words = String::new();
    for part in line.split_inclusive(|character: char| !character.is_ascii_alphanumeric() && character != '.')
    {
        let is_separator = |character: char| !character.is_ascii_alphanumeric() && character != '.';
        let (word, rest) = part.split_at(part.trim_end_matches(is_separator).len());
        let is_id = word.len() == 32 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_version = words.ends_with("curl/");
        words.push_str(if is_id {
            "(id)"
        } else if is_version {
            "(version)"
        } else {
            word
        });
        words.push_str(rest);
    }
    words
}

fn matches(expected: &[String], given: &[String]) -> bool {
    match expected {
        [] => given.is_empty(),
        [any, rest @ ..] if any == "…" => (0..=given.len()).any(|skipped| matches(rest, &given[skipped..])),
        [line, rest @ ..] => match given {
            [first, others @ ..] => line_matches(line, first) && matches(rest, others),
            [] => false,
        },
    }
}

fn line_matches(expected: &str, given: &str) -> bool {
    let mut parts = expected.split('…');
    let Some(mut rest) = parts.next().and_then(|start| given.strip_prefix(start)) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(end) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(end)
}
