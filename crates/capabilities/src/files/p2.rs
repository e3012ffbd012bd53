//! The functions of 0.2 by which a folder grows.

use std::io;

use bytes::Bytes;
use wasmtime::{
    StoreContextMut,
    component::{Linker, Resource},
};
use wasmtime_wasi::p2::DynOutputStream;
use wasmtime_wasi::{
    filesystem::{Descriptor, WasiFilesystemView as _},
    p2::{
        FsResult,
        bindings::filesystem::{
            preopens::Host as _,
            types::{
                DescriptorFlags, ErrorCode, Filesize, Host as _, HostDescriptor as _, OpenFlags,
                PathFlags,
            },
        },
    },
};

use super::{
    meter::{FileOutput, MeteredFile, Place, is_quota},
    quota::room_for_entry,
};
use crate::State;

type Store<'a> = StoreContextMut<'a, State>;
type Fd = Resource<Descriptor>;
type Answer<T> = wasmtime::Result<(Result<T, ErrorCode>,)>;

pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let mut preopens = linker.instance("wasi:filesystem/preopens@0.2.12")?;
    preopens.func_wrap("get-directories", get_directories)?;
    let mut types = linker.instance("wasi:filesystem/types@0.2.12")?;
    types.func_wrap("filesystem-error-code", filesystem_error_code)?;
    types.func_wrap("[method]descriptor.write-via-stream", write_via_stream)?;
    types.func_wrap("[method]descriptor.append-via-stream", append_via_stream)?;
    types.func_wrap_async("[method]descriptor.write", |store, parameters| {
        Box::new(write(store, parameters))
    })?;
    types.func_wrap_async("[method]descriptor.set-size", |store, parameters| {
        Box::new(set_size(store, parameters))
    })?;
    types.func_wrap_async("[method]descriptor.open-at", |store, parameters| {
        Box::new(open_at(store, parameters))
    })?;
    types.func_wrap_async("[method]descriptor.create-directory-at", |store, parameters| {
        Box::new(create_directory_at(store, parameters))
    })?;
    types.func_wrap_async("[method]descriptor.symlink-at", |store, parameters| {
        Box::new(symlink_at(store, parameters))
    })?;
    types.func_wrap_async("[method]descriptor.link-at", |store, parameters| {
        Box::new(link_at(store, parameters))
    })?;
    types.func_wrap_async("[method]descriptor.rename-at", |store, parameters| {
        Box::new(rename_at(store, parameters))
    })
}

fn answer<T>(result: FsResult<T>) -> Answer<T> {
    Ok((match result {
        Ok(value) => Ok(value),
        Err(error) => Err(error.downcast()?),
    },))
}

fn io_answer<T>(result: io::Result<T>) -> Answer<T> {
    Ok((result.map_err(
        |error| {
            if is_quota(&error) { ErrorCode::Quota } else { ErrorCode::from(error) }
        },
    ),))
}

/// The answer where there is no room.
fn full<T>() -> Answer<T> {
    Ok((Err(ErrorCode::Quota),))
}

fn get_directories(mut store: Store<'_>, (): ()) -> wasmtime::Result<(Vec<(Fd, String)>,)> {
    let state = store.data_mut();
    let directories = state.filesystem().get_directories()?;
    state.files.given(&directories);
    Ok((directories,))
}

fn filesystem_error_code(
    mut store: Store<'_>,
    (error,): (Resource<wasmtime::Error>,),
) -> wasmtime::Result<(Option<ErrorCode>,)> {
    let state = store.data_mut();
    let is_quota = state.table.get(&error)?.downcast_ref::<io::Error>().is_some_and(is_quota);
    Ok((match is_quota {
        true => Some(ErrorCode::Quota),
        false => state.filesystem().filesystem_error_code(error)?,
    },))
}

fn write_via_stream(
    mut store: Store<'_>,
    (fd, offset): (Fd, Filesize),
) -> Answer<Resource<DynOutputStream>> {
    let state = store.data_mut();
    match state.metered(&fd)? {
        Some(file) => output(state, file, Place::At(offset)),
        None => answer(state.filesystem().write_via_stream(fd, offset)),
    }
}

fn append_via_stream(mut store: Store<'_>, (fd,): (Fd,)) -> Answer<Resource<DynOutputStream>> {
    let state = store.data_mut();
    match state.metered(&fd)? {
        Some(file) => output(state, file, Place::End),
        None => answer(state.filesystem().append_via_stream(fd)),
    }
}

fn output(state: &mut State, file: MeteredFile, place: Place) -> Answer<Resource<DynOutputStream>> {
    let output: DynOutputStream = Box::new(FileOutput::new(file, place));
    Ok((Ok(state.table.push(output)?),))
}

async fn write(
    mut store: Store<'_>,
    (fd, bytes, offset): (Fd, Vec<u8>, Filesize),
) -> Answer<Filesize> {
    let state = store.data_mut();
    let Some(file) = state.metered(&fd)? else {
        return answer(state.filesystem().write(fd, bytes, offset).await);
    };
    let size = bytes.len() as Filesize;
    io_answer(file.write(Place::At(offset), Bytes::from(bytes)).await.map(|()| size))
}

async fn set_size(mut store: Store<'_>, (fd, size): (Fd, Filesize)) -> Answer<()> {
    let state = store.data_mut();
    match state.metered(&fd)? {
        Some(file) => io_answer(file.set_len(size).await),
        None => answer(state.filesystem().set_size(fd, size).await),
    }
}

async fn open_at(
    mut store: Store<'_>,
    (fd, path_flags, path, open_flags, flags): (Fd, PathFlags, String, OpenFlags, DescriptorFlags),
) -> Answer<Fd> {
    let state = store.data_mut();
    let quota = state.files.quota_of(&fd);
    let this = || Resource::new_borrow(fd.rep());
    let is_new = open_flags.contains(OpenFlags::CREATE)
        && state.filesystem().stat_at(this(), path_flags, path.clone()).await.is_err();
    let room = room_for_entry(quota.clone().filter(|_| is_new)).await;
    let Ok(_room) = room else { return full() };
    let opened =
        state.filesystem().open_at(this(), path_flags, path.clone(), open_flags, flags).await;
    let (answer,) = answer(opened)?;
    match &answer {
        Ok(opened) => state.opened_file(opened, quota)?,
        Err(ErrorCode::NotPermitted) => state.files.deny(&path),
        Err(_) => {}
    }
    Ok((answer,))
}

async fn create_directory_at(mut store: Store<'_>, (fd, path): (Fd, String)) -> Answer<()> {
    let state = store.data_mut();
    let Ok(_room) = room_for_entry(state.files.quota_of(&fd)).await else { return full() };
    answer(state.filesystem().create_directory_at(fd, path).await)
}

async fn symlink_at(
    mut store: Store<'_>,
    (fd, old_path, new_path): (Fd, String, String),
) -> Answer<()> {
    let state = store.data_mut();
    let Ok(_room) = room_for_entry(state.files.quota_of(&fd)).await else { return full() };
    answer(state.filesystem().symlink_at(fd, old_path, new_path).await)
}

async fn link_at(
    mut store: Store<'_>,
    (fd, old_flags, old_path, new_fd, new_path): (Fd, PathFlags, String, Fd, String),
) -> Answer<()> {
    let state = store.data_mut();
    if state.files.are_apart(&fd, &new_fd) {
        return Ok((Err(ErrorCode::CrossDevice),));
    }
    let Ok(_room) = room_for_entry(state.files.quota_of(&fd)).await else { return full() };
    answer(state.filesystem().link_at(fd, old_flags, old_path, new_fd, new_path).await)
}

async fn rename_at(
    mut store: Store<'_>,
    (fd, old_path, new_fd, new_path): (Fd, String, Fd, String),
) -> Answer<()> {
    let state = store.data_mut();
    if state.files.are_apart(&fd, &new_fd) {
        return Ok((Err(ErrorCode::CrossDevice),));
    }
    answer(state.filesystem().rename_at(fd, old_path, new_fd, new_path).await)
}
