//! Seabed (draft).
use seabed_engine::backup::{BackupOptions, backup};
use seabed_engine::observe::Silent;
use seabed_engine::repository::{InitOptions, OpenOptions, Repository};
use seabed_engine::seal::key::Secret;
use seabed_engine::store::local::LocalStore;
use std::sync::Arc;
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let repo = std::env::var("SEABED_REPOSITORY").unwrap();
    let secret = Secret::Passphrase(std::env::var("SEABED_PASSWORD").unwrap().into_bytes().into());
    let open = OpenOptions { cache: Some(std::env::var("HOME").unwrap().into()) };
    match args[1].as_str() {
        "init" => {
            Repository::init(Arc::new(LocalStore::create(std::path::Path::new(&repo)).unwrap()), &secret, &InitOptions::default(), &open)
                .unwrap();
        }
        "restore" | "dump" => {
            let t = std::time::Instant::now();
            let r = Repository::open(Arc::new(LocalStore::open(std::path::Path::new(&repo)).unwrap()), &secret, &open).unwrap();
            r.refresh().unwrap();
            let sel = r.select(&args[2], &Default::default()).unwrap();
            if args[1] == "dump" {
                let sel = seabed_engine::repository::selector::Selected { path: args[3].clone().into_bytes(), ..sel };
                seabed_engine::dump::dump(&r, &sel, &mut std::io::stdout(), &Silent).unwrap();
            } else {
                let o =
                    seabed_engine::restore::RestoreOptions { target: args[3].clone().into(), verify: args.len() > 4, ..Default::default() };
                eprintln!("{:?} {:?}", seabed_engine::restore::restore(&r, &sel, &o, &Silent).unwrap(), t.elapsed());
            }
        }
        _ => {
            let t = std::time::Instant::now();
            let r = Repository::open(Arc::new(LocalStore::open(std::path::Path::new(&repo)).unwrap()), &secret, &open).unwrap();
            eprintln!("open {:?}", t.elapsed());
            let path = args.last().unwrap();
            let o = BackupOptions { paths: vec![path.into()], ..Default::default() };
            match backup(&r, o, &Silent) {
                Ok(r) => eprintln!("{r:?} {:?}", t.elapsed()),
                Err(e) => {
                    eprintln!("{e}");
                    std::process::exit(1)
                }
            }
        }
    }
}
