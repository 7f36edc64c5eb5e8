//! `ledger key | list | show | export`: reading, without the lock.
