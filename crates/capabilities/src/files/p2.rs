//! The functions of 0.2 by which a folder grows.

use std::io;

use bytes::Bytes;
use wasmtime::{
    StoreContextMut,
    component::{LinkerInstance, Resource},
};
use wasmtime_wasi::p2::DynOutputStream;
use wasmtime_wasi::{
    filesystem::Descriptor,
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
use crate::{
    State,
    linking::Linking,
    parts::{Caller, Views},
};

type Store<'a> = StoreContextMut<'a, State>;
type Fd = Resource<Descriptor>;
type Answer<T> = wasmtime::Result<(Result<T, ErrorCode>,)>;

pub(super) fn link(to: &mut Linking<'_>) -> wasmtime::Result<()> {
    to.add("wasi:filesystem/preopens@0.2.12", |preopens, views| {
        preopens.func_wrap("get-directories", move |store, ()| get_directories(store, views))
    })?;
    to.add("wasi:filesystem/types@0.2.12", growing)
}

fn growing(types: &mut LinkerInstance<'_, State>, views: &'static Views) -> wasmtime::Result<()> {
    types.func_wrap("filesystem-error-code", move |store, parameters| {
        filesystem_error_code(store, views, parameters)
    })?;
    types.func_wrap("[method]descriptor.write-via-stream", move |store, parameters| {
        write_via_stream(store, views, parameters)
    })?;
    types.func_wrap("[method]descriptor.append-via-stream", move |store, parameters| {
        append_via_stream(store, views, parameters)
    })?;
    types.func_wrap_async("[method]descriptor.write", move |store, parameters| {
        Box::new(write(store, views, parameters))
    })?;
    types.func_wrap_async("[method]descriptor.set-size", move |store, parameters| {
        Box::new(set_size(store, views, parameters))
    })?;
    types.func_wrap_async("[method]descriptor.open-at", move |store, parameters| {
        Box::new(open_at(store, views, parameters))
    })?;
    types.func_wrap_async("[method]descriptor.create-directory-at", move |store, parameters| {
        Box::new(create_directory_at(store, views, parameters))
    })?;
    types.func_wrap_async("[method]descriptor.symlink-at", move |store, parameters| {
        Box::new(symlink_at(store, views, parameters))
    })?;
    types.func_wrap_async("[method]descriptor.link-at", move |store, parameters| {
        Box::new(link_at(store, views, parameters))
    })?;
    types.func_wrap_async("[method]descriptor.rename-at", move |store, parameters| {
        Box::new(rename_at(store, views, parameters))
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

fn get_directories(mut store: Store<'_>, views: &Views) -> wasmtime::Result<(Vec<(Fd, String)>,)> {
    let mut caller = store.data_mut().caller(views.part);
    let directories = caller.filesystem().get_directories()?;
    caller.part.files.given(&directories);
    Ok((directories,))
}

fn filesystem_error_code(
    mut store: Store<'_>,
    views: &'static Views,
    (error,): (Resource<wasmtime::Error>,),
) -> wasmtime::Result<(Option<ErrorCode>,)> {
    let mut caller = store.data_mut().caller(views.part);
    let is_quota = caller.table.get(&error)?.downcast_ref::<io::Error>().is_some_and(is_quota);
    Ok((match is_quota {
        true => Some(ErrorCode::Quota),
        false => caller.filesystem().filesystem_error_code(error)?,
    },))
}

fn write_via_stream(
    mut store: Store<'_>,
    views: &'static Views,
    (fd, offset): (Fd, Filesize),
) -> Answer<Resource<DynOutputStream>> {
    let mut caller = store.data_mut().caller(views.part);
    match caller.metered(&fd)? {
        Some(file) => output(&mut caller, file, Place::At(offset)),
        None => answer(caller.filesystem().write_via_stream(fd, offset)),
    }
}

fn append_via_stream(
    mut store: Store<'_>,
    views: &'static Views,
    (fd,): (Fd,),
) -> Answer<Resource<DynOutputStream>> {
    let mut caller = store.data_mut().caller(views.part);
    match caller.metered(&fd)? {
        Some(file) => output(&mut caller, file, Place::End),
        None => answer(caller.filesystem().append_via_stream(fd)),
    }
}

fn output(
    caller: &mut Caller<'_>,
    file: MeteredFile,
    place: Place,
) -> Answer<Resource<DynOutputStream>> {
    let output: DynOutputStream = Box::new(FileOutput::new(file, place));
    Ok((Ok(caller.table.push(output)?),))
}

async fn write(
    mut store: Store<'_>,
    views: &'static Views,
    (fd, bytes, offset): (Fd, Vec<u8>, Filesize),
) -> Answer<Filesize> {
    let mut caller = store.data_mut().caller(views.part);
    let Some(file) = caller.metered(&fd)? else {
        return answer(caller.filesystem().write(fd, bytes, offset).await);
    };
    let size = bytes.len() as Filesize;
    io_answer(file.write(Place::At(offset), Bytes::from(bytes)).await.map(|()| size))
}

async fn set_size(
    mut store: Store<'_>,
    views: &'static Views,
    (fd, size): (Fd, Filesize),
) -> Answer<()> {
    let mut caller = store.data_mut().caller(views.part);
    match caller.metered(&fd)? {
        Some(file) => io_answer(file.set_len(size).await),
        None => answer(caller.filesystem().set_size(fd, size).await),
    }
}

async fn open_at(
    mut store: Store<'_>,
    views: &'static Views,
    (fd, path_flags, path, open_flags, flags): (Fd, PathFlags, String, OpenFlags, DescriptorFlags),
) -> Answer<Fd> {
    let mut caller = store.data_mut().caller(views.part);
    let quota = caller.part.files.quota_of(&fd);
    let this = || Resource::new_borrow(fd.rep());
    let is_new = open_flags.contains(OpenFlags::CREATE)
        && caller.filesystem().stat_at(this(), path_flags, path.clone()).await.is_err();
    let room = room_for_entry(quota.clone().filter(|_| is_new)).await;
    let Ok(_room) = room else { return full() };
    let opened =
        caller.filesystem().open_at(this(), path_flags, path.clone(), open_flags, flags).await;
    let (answer,) = answer(opened)?;
    match &answer {
        Ok(opened) => caller.opened_file(opened, quota)?,
        Err(ErrorCode::NotPermitted) => caller.part.files.deny(&path),
        Err(_) => {}
    }
    Ok((answer,))
}

async fn create_directory_at(
    mut store: Store<'_>,
    views: &'static Views,
    (fd, path): (Fd, String),
) -> Answer<()> {
    let mut caller = store.data_mut().caller(views.part);
    let Ok(_room) = room_for_entry(caller.part.files.quota_of(&fd)).await else { return full() };
    answer(caller.filesystem().create_directory_at(fd, path).await)
}

async fn symlink_at(
    mut store: Store<'_>,
    views: &'static Views,
    (fd, old_path, new_path): (Fd, String, String),
) -> Answer<()> {
    let mut caller = store.data_mut().caller(views.part);
    let Ok(_room) = room_for_entry(caller.part.files.quota_of(&fd)).await else { return full() };
    answer(caller.filesystem().symlink_at(fd, old_path, new_path).await)
}

async fn link_at(
    mut store: Store<'_>,
    views: &'static Views,
    (fd, old_flags, old_path, new_fd, new_path): (Fd, PathFlags, String, Fd, String),
) -> Answer<()> {
    let mut caller = store.data_mut().caller(views.part);
    if caller.part.files.are_apart(&fd, &new_fd) {
        return Ok((Err(ErrorCode::CrossDevice),));
    }
    let Ok(_room) = room_for_entry(caller.part.files.quota_of(&fd)).await else { return full() };
    answer(caller.filesystem().link_at(fd, old_flags, old_path, new_fd, new_path).await)
}

async fn rename_at(
    mut store: Store<'_>,
    views: &'static Views,
    (fd, old_path, new_fd, new_path): (Fd, String, Fd, String),
) -> Answer<()> {
    let mut caller = store.data_mut().caller(views.part);
    if caller.part.files.are_apart(&fd, &new_fd) {
        return Ok((Err(ErrorCode::CrossDevice),));
    }
    answer(caller.filesystem().rename_at(fd, old_path, new_fd, new_path).await)
}
