//! `narrows nft`: rules about what may pass, in nft(8)'s language.

use crate::arguments::Nft;
use anyhow::{Context, Result, bail};
use narrows_client::{NftOptions, Stack};
use std::io::{Read, Write};

pub fn execute(stack: &Stack, arguments: &Nft, out: &mut dyn Write) -> Result<()> {
    let text = text(arguments)?;
    let options =
        NftOptions { handles: arguments.handle, json: arguments.json, check: arguments.check };
    let where_from = match &arguments.file {
        Some(path) => path.display().to_string(),
        None => "command".to_owned(),
    };
    let listing = stack.nft(&text, options).with_context(|| where_from)?;
    out.write_all(listing.as_bytes())?;
    Ok(())
}

fn text(arguments: &Nft) -> Result<String> {
    match &arguments.file {
        Some(_) if !arguments.words.is_empty() => {
            bail!("both --file and a command: give one of them");
        }
        Some(path) if path.as_os_str() == "-" => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).context("can't read the standard input")?;
            Ok(text)
        }
        Some(path) => std::fs::read_to_string(path)
            .with_context(|| format!("can't read the rules in {}", path.display())),
        None if arguments.words.is_empty() => {
            bail!("nothing to do: give --file FILE, or a command such as `list ruleset`")
        }
        // As nft does, one command may be one argument or several.
        None => Ok(arguments.words.join(" ")),
    }
}
