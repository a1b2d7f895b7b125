//! Runs the commands that bring devices and a repository together.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::{MAX_DAYS, print_json};
use crate::cli::{DeviceConfig, Serve, Tls};
use crate::device::{self, Device};
use crate::director;
use crate::error::Error;
use crate::files;
use crate::repository::{metadata_folder, private_folders};
use crate::serve::{self, TlsFiles};
use crate::tls::{Authority, Folder};

pub fn tls(args: &Tls) -> Result<(), Error> {
    if args.days == 0 || args.days > MAX_DAYS {
        return Err(Error::option("--days", format!("use 1 to {MAX_DAYS}")));
    }
    let folder = tls_folder(&args.dir, args.keys.as_ref())?;
    let root = folder.root();
    let authority = Authority::open(folder, args.days)?;
    let server = match args.host.as_slice() {
        [] => None,
        hosts => Some(authority.server(hosts)?),
    };
    let mut devices = BTreeMap::new();
    for id in &args.device {
        devices.insert(id, authority.device(id)?);
    }
    let shared = match &args.shared {
        Some(url) if !url.starts_with("https://") => {
            return Err(Error::option("--shared", format!("{url:?} is no https:// URL")));
        }
        // Devices trust it first, as the repository was made with it.
        Some(url) => {
            let image_root = metadata_folder(&args.dir).join("1.root.json");
            let image_root = image_root.exists().then(|| files::read(&image_root)).transpose()?;
            Some(authority.share(url, image_root)?)
        }
        None => None,
    };
    if args.json {
        print_json(&json!({"root": root, "server": server, "devices": devices, "shared": shared}));
        return Ok(());
    }
    println!("authority    {}", root.display());
    if let Some(server) = server {
        println!("server       {}", server.display());
    }
    for (id, folder) in devices {
        println!("device       {id}: {}", folder.display());
    }
    if let Some(shared) = shared {
        println!("shared       {}", shared.display());
    }
    Ok(())
}

pub fn serve(args: Serve) -> Result<(), Error> {
    let tls = serve_tls(&args)?;
    let received = director::received_folder(&args.dir, args.received.as_deref())?;
    let folder = tls_folder(&args.dir, args.keys.as_ref()).ok().filter(|f| args.tls && f.has_authority());
    serve::serve(serve::Options {
        received,
        authority: folder.map(|folder| Authority::open(folder, MAX_DAYS)).transpose()?,
        dir: args.dir,
        listen: args.listen,
        tls,
        log: args.log,
        quiet: args.quiet,
    })
}

fn serve_tls(args: &Serve) -> Result<Option<TlsFiles>, Error> {
    let mut files = None;
    if args.tls {
        let folder = tls_folder(&args.dir, args.keys.as_ref())?;
        if !folder.server_certificate().exists() {
            return Err(Error::option(
                "--tls",
                format!(
                    "no certificate in {}: make one with `ota-repo tls {} --host NAME`",
                    folder.path.display(),
                    args.dir.display()
                ),
            ));
        }
        files = Some(TlsFiles {
            certificate: folder.server_certificate(),
            key: folder.server_key(),
            client_ca: Some(folder.root()),
        });
    }
    match (&args.tls_cert, &args.tls_key) {
        (Some(certificate), Some(key)) => {
            files = Some(TlsFiles {
                certificate: certificate.clone(),
                key: key.clone(),
                client_ca: files.and_then(|files| files.client_ca),
            });
        }
        (None, None) => {}
        _ => return Err(Error::option("--tls-cert and --tls-key", "give both")),
    }
    if let Some(path) = &args.client_ca {
        let files =
            files.as_mut().ok_or_else(|| Error::option("--client-ca", "needs --tls-cert and --tls-key"))?;
        files.client_ca = Some(path.clone());
    }
    Ok(files)
}

fn tls_folder(dir: &Path, keys: Option<&PathBuf>) -> Result<Folder, Error> {
    let given: Vec<_> = keys.into_iter().cloned().collect();
    Ok(Folder::of(&private_folders(dir, &given)?[0]))
}

pub fn device_config(args: DeviceConfig) -> Result<(), Error> {
    let folder = tls_folder(&args.dir, args.keys.as_ref())?;
    let device = Device {
        server: args.server,
        hardware_id: args.hardware_id,
        tags: args.tag,
        id: args.device,
        polling_sec: args.polling_sec,
    };
    let list = device::device_files(&args.dir, &folder, &device)?;
    match &args.out {
        Some(out) => {
            device::write(out, &list)?;
            for file in &list {
                println!("{}", out.join(&file.path).display());
            }
        }
        None => print!("{}", device::text(&list)),
    }
    Ok(())
}
