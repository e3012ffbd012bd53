//! `dhow run`.

use std::{fs, io::Write as _, path::Path, process::Stdio};

use dhow_tests::{Finished, dhow, guests::guest};

fn run(options: &[&str], guest_name: &str, arguments: &[&str]) -> Finished {
    let component = guest(guest_name);
    let mut words = vec!["run"];
    words.extend(options);
    words.push(component.to_str().unwrap());
    words.extend(arguments);
    dhow(words).finish()
}

#[test]
fn arguments_and_output_pass_through() {
    let finished = run(&[], "command", &["args", "a", "--b", "-c", "d e"]);
    assert_eq!((finished.code, &*finished.stdout), (Some(0), "a|--b|-c|d e\n"));
    assert_eq!(finished.stderr, "");
    // What looks like a grant is the command's when it comes after the component.
    let finished = run(&[], "command", &["args", "--dir", "/", "--env", "A=b", "--help"]);
    assert_eq!(finished.stdout, "--dir|/|--env|A=b|--help\n");
    let finished = run(&[], "command-p3", &["a", "--b"]);
    assert_eq!((finished.code, &*finished.stdout), (Some(0), "a|--b\n"));
}

#[test]
fn the_exit_code_passes_through() {
    for code in [0, 3, 255] {
        for command in ["command", "command-p3"] {
            assert_eq!(run(&[], command, &["exit", &code.to_string()]).code, Some(code));
        }
    }
    assert_eq!(run(&[], "command-p3", &[]).code, Some(1));
}

#[test]
fn standard_input_passes_through() {
    let mut command = dhow([Path::new("run"), &guest("command"), Path::new("upper")]).0;
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"quiet").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.stdout, b"QUIET");
}

#[test]
fn only_granted_variables_are_seen() {
    assert_eq!(run(&[], "command", &["env"]).stdout, "");
    let finished = run(&["--env", "A=1", "--env", "B=x=y"], "command", &["env"]);
    assert_eq!(finished.stdout, "A=1\nB=x=y\n");
    let component = guest("command");
    let mut passed = dhow(["run", "--env", "SHIP", component.to_str().unwrap(), "env"]);
    passed.0.env("SHIP", "dhow");
    assert_eq!(passed.finish().stdout, "SHIP=dhow\n");
    let missing = run(&["--env", "DHOW_TEST_IS_NOT_SET"], "command", &["env"]);
    assert_eq!(missing.code, Some(2));
    assert!(missing.stderr.contains("`DHOW_TEST_IS_NOT_SET` is not set"), "{}", missing.stderr);
}

#[test]
fn only_granted_folders_are_seen_and_only_written_where_granted() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "content").unwrap();
    fs::write(folder.path().parent().unwrap().join("dhow-test-outside"), "outside").unwrap();
    let host = folder.path().to_str().unwrap();
    assert_eq!(run(&[], "command", &["read", &format!("{host}/file")]).code, Some(1));

    let as_data = format!("{host}::/data");
    assert_eq!(run(&["--dir", &as_data], "command", &["read", "/data/file"]).stdout, "content\n");
    assert_eq!(run(&["--dir", host], "command", &["read", &format!("{host}/file")]).code, Some(0));
    let outside = run(&["--dir", &as_data], "command", &["read", "/data/../dhow-test-outside"]);
    assert_eq!(outside.code, Some(1));

    let read_only = format!("{host}::/data:ro");
    let denied = run(&["--dir", &read_only], "command", &["write", "/data/new", "text"]);
    assert_eq!(denied.code, Some(1));
    assert!(!folder.path().join("new").exists());
    assert_eq!(run(&["--dir", &as_data], "command", &["write", "/data/new", "text"]).code, Some(0));
    assert_eq!(fs::read_to_string(folder.path().join("new")).unwrap(), "text");

    let missing = run(&["--dir", "/does/not/exist"], "command", &["args"]);
    assert_eq!(missing.code, Some(1));
    assert!(missing.stderr.contains("/does/not/exist: "), "{}", missing.stderr);
}

#[test]
fn a_trap_is_a_failure_with_the_guests_backtrace() {
    let finished = run(&[], "command", &["trap"]);
    assert_eq!(finished.code, Some(1));
    assert!(finished.stderr.contains("as asked"), "{}", finished.stderr);
    assert!(finished.stderr.contains("wasm backtrace"), "{}", finished.stderr);
}

#[test]
fn memory_is_limited() {
    let component = guest("command");
    let finished = dhow(["run", "--memory", "64KiB", component.to_str().unwrap(), "args"]).finish();
    assert_eq!(finished.code, Some(1));
    assert!(finished.stderr.contains("memory limit of 65536 bytes"), "{}", finished.stderr);
}

#[test]
fn a_handler_is_no_command() {
    let finished = run(&[], "hello-p2", &[]);
    assert_eq!(finished.code, Some(1));
    assert_eq!(
        finished.stderr,
        "error: component `hello-p2` is no command: it exports \
         wasi:http/incoming-handler@0.2.12\n  \
         help: it answers HTTP requests: serve it with `dhow up`\n"
    );
}
