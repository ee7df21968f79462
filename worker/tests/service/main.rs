//! The worker as its own process, with its real keeper and real steps, under a daemon that the
//! tests play.
#[cfg(test)]
mod adoption;
#[cfg(test)]
mod daemon;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod logs;
#[cfg(test)]
mod processes;
#[cfg(test)]
mod secrets;
#[cfg(test)]
mod session;
#[cfg(test)]
mod speed;
#[cfg(test)]
mod steps;
#[cfg(test)]
mod worker;
