//! What the documents name, and has to be there: links, files, and texts of errors.

use std::collections::BTreeSet;
use std::fs;

use super::read;
use super::text::{documents, files_below, root};

/// As GitHub makes it of a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = kept
        .chars()
        .filter(|c| c.is_alphanumeric() || "-_ ".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let mut links = 0;
    for document in documents() {
        let file = document.file;
        for link in document.text.split("](").skip(1) {
            let link = link.split(')').next().unwrap_or_default();
            if link.contains("://") || link.contains(char::is_whitespace) {
                continue;
            }
            links += 1;
            let (path, fragment) = link.split_once('#').unwrap_or((link, ""));
            let target = match path {
                "" => file.clone(),
                path => file.with_file_name("").join(path),
            };
            assert!(target.exists(), "{}: {link}", file.display());
            if !fragment.is_empty() {
                let text = fs::read_to_string(&target).unwrap();
                let mut headings = text.lines().filter(|line| line.starts_with('#'));
                let found = headings.any(|heading| anchor(heading) == fragment);
                assert!(found, "{}: {link}", file.display());
            }
        }
    }
    assert!(links > 20, "{links}");
}

/// The code within the first cells of a document's tables, from a heading to the next of its kind.
fn named_in_first_cells(document: &str, heading: &str) -> Vec<String> {
    let text = read(document);
    let (_, section) = text.split_once(heading).expect("the section");
    let section = section.split("\n## ").next().unwrap_or_default();
    let cells = section
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    cells
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .map(str::to_owned)
        .collect()
}

/// Every source file has its line in docs/architecture.md, and every test its place.
#[test]
fn every_file_is_in_the_architecture() {
    let named: BTreeSet<_> = named_in_first_cells("docs/architecture.md", "\n## Files\n")
        .into_iter()
        .map(|name| format!("src/{}", name.trim_start_matches("src/")))
        .collect();
    let is_test = |name: &String| name.ends_with("/tests.rs") || name.ends_with("_tests.rs");
    let files: BTreeSet<_> = files_below("src", ".rs")
        .into_iter()
        .map(|file| file.strip_prefix(root()).unwrap().display().to_string())
        .filter(|name| !is_test(name))
        .collect();
    let missing: Vec<_> = files.symmetric_difference(&named).collect();
    assert!(missing.is_empty(), "in one of both only: {missing:?}");

    let named: BTreeSet<_> = named_in_first_cells("docs/architecture.md", "\n## Tests\n")
        .into_iter()
        .map(|name| name.trim_start_matches("tests/").to_owned())
        .collect();
    for entry in fs::read_dir(root().join("tests")).unwrap() {
        let path = entry.unwrap().path();
        let mut name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.join("main.rs").exists() {
            name.push('/');
        } else if path.is_dir() {
            continue;
        }
        assert!(
            named.contains(&name),
            "docs/architecture.md does not name tests/{name}"
        );
    }
}

/// The program in the README is the one of the crate's documentation, which is compiled.
#[test]
fn the_program_in_the_readme_is_compiled() {
    let readme = read("README.md");
    let (_, program) = readme.split_once("```rust\n").expect("a program");
    let (program, _) = program.split_once("\n```").expect("an end");
    let crate_docs: Vec<_> = fs::read_to_string(root().join("src/lib.rs"))
        .unwrap()
        .lines()
        .filter_map(|line| line.strip_prefix("//!"))
        .map(|line| line.strip_prefix(' ').unwrap_or(line).to_owned())
        .filter(|line| !line.starts_with("# "))
        .collect();
    assert!(
        crate_docs
            .join("\n")
            .contains(&format!("```no_run\n{program}\n```"))
    );
    let gstreamer = "gst = { package = \"gstreamer\", version = \"0.25\"";
    assert!(readme.contains(gstreamer) && read("Cargo.toml").contains(gstreamer));
}

/// Texts that others say, and whose they are.
const OF_OTHERS: &[(&str, &str)] = &[
    ("Address already in use", "the C library's strerror"),
    ("no element \"rtmp2serversrc\"", "gst-launch-1.0"),
    (
        "Incorrect username/password",
        "ffmpeg, as tests/login.rs sees it",
    ),
    ("No credentials set", "ffmpeg, as tests/login.rs sees it"),
    ("received fatal alert: UnknownCA", "rustls"),
    ("received fatal alert: BadCertificate", "rustls"),
    (
        "Could not access the specified channel or stream key",
        "OBS",
    ),
    ("no more pads", "GStreamer's signal no-more-pads"),
];

/// Code among the symptoms that is no text: elements, properties, fields, programs.
const NAMES: &[&str] = &[
    "compat=flvdemux",
    "loop",
    "pushed",
    "received",
    "rtmpdump",
    "rtmpsink",
    "stats",
    "tcpserversink",
    "tee",
];

/// All string literals of the program, without what is put into them: `…` stands for that.
fn literals() -> Vec<String> {
    let mut found = Vec::new();
    for file in files_below("src", ".rs") {
        let name = file.to_string_lossy().into_owned();
        if name.ends_with("tests.rs") {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        let code: Vec<_> = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .collect();
        let code = code.join("\n").replace("'\"'", "").replace("\\\"", "\u{1}");
        for literal in code.split('"').skip(1).step_by(2) {
            // A line that ends with a backslash goes on behind the next one's spaces.
            let mut lines = literal.split("\\\n");
            let mut whole = lines.next().unwrap_or_default().to_owned();
            lines.for_each(|line| whole.push_str(line.trim_start()));
            found.push(without_values(&whole.replace('\u{1}', "\"")));
        }
    }
    assert!(found.len() > 500, "{}", found.len());
    found
}

/// With `…` for each `{…}` of a literal, and for each number.
fn without_values(text: &str) -> String {
    let mut result = String::new();
    let mut inside = false;
    for c in text.chars() {
        match c {
            '{' => inside = true,
            '}' => inside = false,
            _ if inside => continue,
            _ if !c.is_ascii_digit() => {
                result.push(c);
                continue;
            }
            _ => (),
        }
        if !result.ends_with('…') {
            result.push('…');
        }
    }
    result
}

/// Whether all the pieces of a quoted text stand in the literal, in that order.
fn is_in(quoted: &str, literal: &str) -> bool {
    let mut rest = literal;
    quoted.split('…').map(str::trim).all(|piece| {
        let Some(at) = rest.find(piece) else {
            return false;
        };
        rest = &rest[at + piece.len()..];
        true
    })
}

#[test]
fn quoted_errors_are_what_the_program_says() {
    let literals = literals();
    let mut quoted = named_in_first_cells(
        "docs/troubleshooting.md",
        "\n## The pipeline does not start\n",
    );
    quoted.extend(named_in_first_cells(
        "docs/troubleshooting.md",
        "\n## The encoder can't connect, or is refused\n",
    ));
    quoted.extend(named_in_first_cells(
        "docs/troubleshooting.md",
        "\n## It connects, and nothing or too little is seen\n",
    ));
    assert!(quoted.len() > 30, "{quoted:?}");
    let all = read("docs/troubleshooting.md") + &read("README.md");
    for (text, whose) in OF_OTHERS {
        assert!(all.contains(text), "nobody quotes '{text}' of {whose}");
    }
    for text in quoted {
        let is_known = |known: &str| known == text;
        if NAMES.iter().any(|name| is_known(name))
            || OF_OTHERS.iter().any(|(other, _)| is_known(other))
        {
            continue;
        }
        let mut own = text.clone();
        for (other, _) in OF_OTHERS {
            own = own.replace(&format!(": {other}"), "…");
        }
        let own = without_values(&own);
        let found = literals.iter().any(|literal| is_in(&own, literal));
        assert!(found, "who says '{text}'?");
    }
}
