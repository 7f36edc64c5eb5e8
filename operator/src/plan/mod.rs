//! Pure: from what is there to what shall be there. Nothing here knows a client, a clock or a socket.

pub mod decide;
mod endpoint;
pub mod image;
pub mod isolation;
pub mod network;
pub mod notice;
pub mod pod;
pub mod pods;
pub mod quantity;
pub mod reach;
pub mod resolve;
pub mod resources;
pub mod status;
pub mod validate;
