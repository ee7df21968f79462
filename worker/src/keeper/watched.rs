use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    rc::Rc,
};

use rustix::event::epoll;

/// A descriptor that the keeper waits for. It is taken off the keeper's list before it is closed: a
/// process that is just being started has a copy until it has become its own program, and for that
/// long the list would tell of an end again and again.
pub(super) struct Watched<F: AsFd> {
    pub(super) fd: F,
    list: Rc<OwnedFd>,
}

impl<F: AsFd> Watched<F> {
    /// Of what may be added to `list` later.
    pub(super) fn new(fd: F, list: &Rc<OwnedFd>) -> Self {
        Self { fd, list: Rc::clone(list) }
    }
}

impl<F: AsFd> AsFd for Watched<F> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl<F: AsFd> Drop for Watched<F> {
    fn drop(&mut self) {
        // It need not be on the list.
        epoll::delete(&self.list, &self.fd).ok();
    }
}
