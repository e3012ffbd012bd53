//! A command of WASI 0.3: world `wasi:cli/command`. Prints its arguments, and fails where there
//! are none; `exit N` exits with that code.

use wasip3::{cli, wit_bindgen, wit_stream};

struct Command;

wasip3::cli::command::export!(Command);

impl wasip3::exports::cli::run::Guest for Command {
    async fn run() -> Result<(), ()> {
        let arguments = cli::environment::get_arguments();
        if let [_, word, code] = &arguments[..]
            && word == "exit"
        {
            cli::exit::exit_with_code(code.parse().unwrap());
        }
        let text = format!("{}\n", arguments[1..].join("|"));
        let (mut writer, reader) = wit_stream::new();
        wit_bindgen::spawn_local(async move {
            writer.write_all(text.into_bytes()).await;
        });
        cli::stdout::write_via_stream(reader).await.map_err(|_| ())?;
        if arguments.len() > 1 { Ok(()) } else { Err(()) }
    }
}
