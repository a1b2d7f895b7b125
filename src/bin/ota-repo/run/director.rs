//! Runs the commands of the Director's side.

use crate::cli::DirectorCommand;
use crate::director::{self, Assignment};
use crate::error::Error;

pub fn run(command: DirectorCommand) -> Result<(), Error> {
    match command {
        DirectorCommand::Init(args) => {
            let root = director::init(&args.dir, &args.keys)?;
            println!("first root   {}  (goes into every device's image)", root.display());
        }
        DirectorCommand::Assign(args) => {
            let wanted = Assignment {
                device: args.device,
                target: args.target,
                ecu: args.ecu,
                hardware_id: args.hardware_id,
                correlation_id: args.correlation_id,
                received: args.received,
            };
            let correlation = director::assign(&args.dir, &args.keys, &wanted)?;
            println!("assigned {} to {}: {correlation}", wanted.target, wanted.device);
        }
        DirectorCommand::Withdraw(args) => {
            director::withdraw(&args.dir, &args.keys, &args.device)?;
            println!("{} is assigned nothing", args.device);
        }
        DirectorCommand::Refresh(args) => {
            let count = director::refresh(&args.dir, &args.keys)?;
            println!("signed again: {count}");
        }
    }
    Ok(())
}
