//! What there is to read, and the commands in it.

use std::fs;
use std::path::{Path, PathBuf};

pub struct Document {
    pub file: PathBuf,
    pub text: String,
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All below a folder with that ending, in order. Not what tools put there.
pub fn files_below(folder: &str, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && !["node_modules", "target"].contains(&name.as_str()) {
                folders.push(path);
            } else if name.ends_with(ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

pub fn documents() -> Vec<Document> {
    let mut files: Vec<PathBuf> = fs::read_dir(root())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "md"))
        .collect();
    // The last is not in the package.
    for folder in ["docs", "examples", ".github"] {
        if root().join(folder).exists() {
            files.extend(files_below(folder, ".md"));
        }
    }
    assert!(files.len() > 12, "{files:?}");
    let read = |file: PathBuf| Document {
        text: fs::read_to_string(&file).unwrap(),
        file,
    };
    files.into_iter().map(read).collect()
}

/// First words that make a command of code within a line.
const PROGRAMS: &str = "apt apt-get cargo cc cd cp export ffmpeg ffplay git gst-inspect-1.0 gst-launch-1.0 haproxy \
    ingest kill ln make npm openssl perf pip python3 rustup setcap sha256sum ss sudo tcpdump tshark ulimit valgrind";

/// Without what it sets in the environment.
pub fn without_assignments(code: &str) -> impl Iterator<Item = &str> {
    let is_assignment = |word: &&str| {
        let name = word.split_once('=').map_or("", |(name, _)| name);
        !name.is_empty()
            && name
                .bytes()
                .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
    };
    code.split_whitespace().skip_while(is_assignment)
}

fn is_command(code: &str) -> bool {
    let mut words = without_assignments(code);
    let Some(program) = words.next() else {
        return false;
    };
    // The name alone of a program is a name.
    let has_arguments = words.next().is_some();
    let is_ours = program.starts_with("scripts/") || program.starts_with(".ci/");
    let is_script = program.ends_with(".sh") || program.ends_with(".py");
    is_ours || has_arguments && (is_script || PROGRAMS.split(' ').any(|name| name == program))
}

fn normalise(code: &str) -> String {
    code.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Each command of a block: with its continuation lines, a loop as a whole, and without comments.
fn commands_of_script(script: &str) -> Vec<String> {
    let mut commands = Vec::<String>::new();
    let mut inside = false;
    for line in script.replace("\\\n", " ").lines() {
        let code = normalise(line.split("  #").next().unwrap_or_default());
        if code.is_empty() || code.starts_with('#') {
            continue;
        }
        match commands.last_mut().filter(|_| inside) {
            Some(command) => *command = format!("{command} {code}"),
            None => commands.push(code.clone()),
        }
        inside = (inside || code.ends_with("; do")) && code != "done";
    }
    commands
}

/// All commands: in blocks of shell, in indented blocks, and as code within a line.
pub fn commands(document: &Document) -> Vec<String> {
    let mut commands = Vec::new();
    let mut prose = String::new();
    let mut lines = document.text.lines();
    let mut may_indent = true;
    while let Some(line) = lines.next() {
        if let Some(language) = line.trim_start().strip_prefix("```") {
            let block: Vec<_> = lines
                .by_ref()
                .take_while(|line| !line.trim_start().starts_with("```"))
                .collect();
            match language {
                "sh" => commands.extend(commands_of_script(&block.join("\n"))),
                "rust" | "toml" | "text" | "python" | "xml" | "mermaid" => (),
                other => panic!("{}: a block of '{other}'", document.file.display()),
            }
        } else if line.starts_with("    ") && may_indent {
            commands.extend(Some(normalise(line)).filter(|code| is_command(code)));
            continue;
        } else {
            prose.push_str(line);
            prose.push('\n');
        }
        may_indent = line.trim().is_empty();
    }
    // A paragraph that ends within code would turn all that follows inside out.
    for paragraph in prose.split("\n\n") {
        let parts: Vec<_> = paragraph.split('`').collect();
        assert!(
            parts.len() % 2 == 1,
            "{}: {paragraph}",
            document.file.display()
        );
        let code = parts.iter().skip(1).step_by(2).map(|code| normalise(code));
        commands.extend(code.filter(|code| is_command(code)));
    }
    commands
}

/// The only command in the documents that begins so, however often it stands there.
pub fn the_command(start: &str) -> String {
    let mut found: Vec<_> = documents().iter().flat_map(commands).collect();
    found.retain(|command| command.starts_with(start));
    found.sort();
    found.dedup();
    assert_eq!(found.len(), 1, "{start}: {found:?}");
    found.remove(0)
}
