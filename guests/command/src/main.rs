//! A command of WASI 0.2, by the standard library. The first argument says what to do.

use std::{
    env, fs,
    io::{Read, Write, stdin},
    process::exit,
};

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["args", rest @ ..] => println!("{}", rest.join("|")),
        ["env"] => env::vars().for_each(|(name, value)| println!("{name}={value}")),
        ["upper"] => {
            let mut text = String::new();
            stdin().read_to_string(&mut text).unwrap();
            std::io::stdout().write_all(text.to_uppercase().as_bytes()).unwrap();
        }
        ["read", path] => print(fs::read_to_string(path)),
        ["write", path, text] => print(fs::write(path, text).map(|()| "written".to_owned())),
        // The standard library passes on only whether it was 0.
        ["exit", code] => wasip2::cli::exit::exit_with_code(code.parse().unwrap()),
        ["trap"] => panic!("as asked"),
        _ => {
            eprintln!("what?");
            exit(2);
        }
    }
}

fn print(result: std::io::Result<String>) {
    match result {
        Ok(text) => println!("{text}"),
        Err(error) => {
            eprintln!("{error}");
            exit(1);
        }
    }
}
