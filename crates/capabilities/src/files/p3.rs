//! The functions of 0.3 by which a folder grows.

use std::io;

use tokio::sync::oneshot;
use wasmtime::{
    StoreContextMut,
    component::{Access, Accessor, FutureReader, Linker, Resource, StreamReader},
};
use wasmtime_wasi::{
    filesystem::{Descriptor, WasiFilesystem, WasiFilesystemView as _},
    p3::{
        bindings::filesystem::{
            preopens::Host as _,
            types::{
                DescriptorFlags, ErrorCode, Filesize, HostDescriptorWithStore as _, OpenFlags,
                PathFlags,
            },
        },
        filesystem::FilesystemResult,
    },
};

use super::{
    meter::{FileConsumer, MeteredFile, Place, error_code},
    quota::{Quota, room_for_entry},
};
use crate::State;

type Store<'a> = StoreContextMut<'a, State>;
type Fd = Resource<Descriptor>;
type Answer<T> = wasmtime::Result<(Result<T, ErrorCode>,)>;
type Written = wasmtime::Result<(FutureReader<Result<(), ErrorCode>>,)>;

pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let mut preopens = linker.instance("wasi:filesystem/preopens@0.3.0")?;
    preopens.func_wrap("get-directories", get_directories)?;
    let mut types = linker.instance("wasi:filesystem/types@0.3.0")?;
    types.func_wrap("[method]descriptor.write-via-stream", write_via_stream)?;
    types.func_wrap("[method]descriptor.append-via-stream", append_via_stream)?;
    types.func_wrap_concurrent("[method]descriptor.set-size", |store, parameters| {
        Box::pin(set_size(store, parameters))
    })?;
    types.func_wrap_concurrent("[method]descriptor.open-at", |store, parameters| {
        Box::pin(open_at(store, parameters))
    })?;
    types.func_wrap_concurrent("[method]descriptor.create-directory-at", |store, parameters| {
        Box::pin(create_directory_at(store, parameters))
    })?;
    types.func_wrap_concurrent("[method]descriptor.symlink-at", |store, parameters| {
        Box::pin(symlink_at(store, parameters))
    })?;
    types.func_wrap_concurrent("[method]descriptor.link-at", |store, parameters| {
        Box::pin(link_at(store, parameters))
    })?;
    types.func_wrap_concurrent("[method]descriptor.rename-at", |store, parameters| {
        Box::pin(rename_at(store, parameters))
    })
}

/// What wasmtime-wasi's functions take in place of `store`.
fn access(store: Store<'_>) -> Access<'_, State, WasiFilesystem> {
    Access::new(store, |state| state.filesystem())
}

fn accessor(store: &Accessor<State>) -> Accessor<State, WasiFilesystem> {
    store.with_getter(|state| state.filesystem())
}

fn quota_of(store: &Accessor<State>, fd: &Fd) -> Option<Quota> {
    store.with(|mut store| store.get().files.quota_of(fd))
}

fn answer<T>(result: FilesystemResult<T>) -> Answer<T> {
    Ok((match result {
        Ok(value) => Ok(value),
        Err(error) => Err(error.downcast()?),
    },))
}

/// The answer where there is no room.
fn full<T>() -> Answer<T> {
    Ok((Err(ErrorCode::Quota),))
}

fn io_answer<T>(result: io::Result<T>) -> Answer<T> {
    Ok((result.map_err(|error| error_code(&error)),))
}

fn get_directories(mut store: Store<'_>, (): ()) -> wasmtime::Result<(Vec<(Fd, String)>,)> {
    let state = store.data_mut();
    let directories = state.filesystem().get_directories()?;
    state.files.given(&directories);
    Ok((directories,))
}

fn write_via_stream(
    mut store: Store<'_>,
    (fd, data, offset): (Fd, StreamReader<u8>, Filesize),
) -> Written {
    match store.data_mut().metered(&fd)? {
        Some(file) => consume(store, data, file, Place::At(offset)),
        None => Ok((WasiFilesystem::write_via_stream(access(store), fd, data, offset)?,)),
    }
}

fn append_via_stream(mut store: Store<'_>, (fd, data): (Fd, StreamReader<u8>)) -> Written {
    match store.data_mut().metered(&fd)? {
        Some(file) => consume(store, data, file, Place::End),
        None => Ok((WasiFilesystem::append_via_stream(access(store), fd, data)?,)),
    }
}

fn consume(
    mut store: Store<'_>,
    data: StreamReader<u8>,
    file: MeteredFile,
    place: Place,
) -> Written {
    let (result, written) = oneshot::channel();
    data.pipe(&mut store, FileConsumer::new(file, place, result))?;
    Ok((FutureReader::new(&mut store, written)?,))
}

async fn set_size(store: &Accessor<State>, (fd, size): (Fd, Filesize)) -> Answer<()> {
    match store.with(|mut store| store.get().metered(&fd))? {
        Some(file) => io_answer(file.set_len(size).await),
        None => answer(WasiFilesystem::set_size(&accessor(store), fd, size).await),
    }
}

async fn open_at(
    store: &Accessor<State>,
    (fd, path_flags, path, open_flags, flags): (Fd, PathFlags, String, OpenFlags, DescriptorFlags),
) -> Answer<Fd> {
    let quota = quota_of(store, &fd);
    let files = accessor(store);
    let this = || Resource::new_borrow(fd.rep());
    let is_new = open_flags.contains(OpenFlags::CREATE)
        && WasiFilesystem::stat_at(&files, this(), path_flags, path.clone()).await.is_err();
    let room = room_for_entry(quota.clone().filter(|_| is_new)).await;
    let Ok(_room) = room else { return full() };
    let opened =
        WasiFilesystem::open_at(&files, this(), path_flags, path.clone(), open_flags, flags).await;
    let (answer,) = answer(opened)?;
    store.with(|mut store| match &answer {
        Ok(opened) => store.get().opened_file(opened, quota),
        Err(ErrorCode::NotPermitted) => {
            store.get().files.deny(&path);
            Ok(())
        }
        Err(_) => Ok(()),
    })?;
    Ok((answer,))
}

async fn create_directory_at(store: &Accessor<State>, (fd, path): (Fd, String)) -> Answer<()> {
    let Ok(_room) = room_for_entry(quota_of(store, &fd)).await else { return full() };
    answer(WasiFilesystem::create_directory_at(&accessor(store), fd, path).await)
}

async fn symlink_at(
    store: &Accessor<State>,
    (fd, old_path, new_path): (Fd, String, String),
) -> Answer<()> {
    let Ok(_room) = room_for_entry(quota_of(store, &fd)).await else { return full() };
    answer(WasiFilesystem::symlink_at(&accessor(store), fd, old_path, new_path).await)
}

fn are_apart(store: &Accessor<State>, one: &Fd, other: &Fd) -> bool {
    store.with(|mut store| store.get().files.are_apart(one, other))
}

async fn link_at(
    store: &Accessor<State>,
    (fd, old_flags, old_path, new_fd, new_path): (Fd, PathFlags, String, Fd, String),
) -> Answer<()> {
    if are_apart(store, &fd, &new_fd) {
        return Ok((Err(ErrorCode::CrossDevice),));
    }
    let Ok(_room) = room_for_entry(quota_of(store, &fd)).await else { return full() };
    let files = accessor(store);
    answer(WasiFilesystem::link_at(&files, fd, old_flags, old_path, new_fd, new_path).await)
}

async fn rename_at(
    store: &Accessor<State>,
    (fd, old_path, new_fd, new_path): (Fd, String, Fd, String),
) -> Answer<()> {
    if are_apart(store, &fd, &new_fd) {
        return Ok((Err(ErrorCode::CrossDevice),));
    }
    answer(WasiFilesystem::rename_at(&accessor(store), fd, old_path, new_fd, new_path).await)
}
