//! Commands of Compose apps.

use serde_json::json;

use super::print_json;
use crate::apps::{self, Access};
use crate::cli::{AppsFetch, AppsPublish};
use crate::error::Error;

pub fn publish(args: AppsPublish) -> Result<(), Error> {
    let access = Access { ca: args.ca, user: args.user, password_file: args.password_file };
    let published = apps::publish(&args.project, &args.to, &access)?;
    let images = published.images.iter();
    if args.json {
        let images: serde_json::Map<_, _> =
            images.map(|(from, to)| (from.clone(), json!(to.to_string()))).collect();
        print_json(&json!({"uri": published.uri.to_string(), "images": images}));
        return Ok(());
    }
    for (from, to) in images {
        eprintln!("{from} is {to}");
    }
    println!("{}", published.uri);
    Ok(())
}

pub fn fetch(args: AppsFetch) -> Result<(), Error> {
    let access = Access { ca: args.ca, user: args.user, password_file: args.password_file };
    let bytes = apps::fetch(&args.name, &args.uri, &args.out, args.arch.as_deref(), &access)?;
    println!("{} is in {} ({bytes} bytes fetched)", args.name, args.out.display());
    Ok(())
}
