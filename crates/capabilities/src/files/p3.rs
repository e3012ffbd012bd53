//! The functions of 0.3 by which a folder grows.

use std::io;

use tokio::sync::oneshot;
use wasmtime::{
    StoreContextMut,
    component::{Access, Accessor, FutureReader, LinkerInstance, Resource, StreamReader},
};
use wasmtime_wasi::{
    filesystem::{Descriptor, WasiFilesystem},
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
use crate::{State, linking::Linking, parts::Views};

type Store<'a> = StoreContextMut<'a, State>;
type Fd = Resource<Descriptor>;
type Answer<T> = wasmtime::Result<(Result<T, ErrorCode>,)>;
type Written = wasmtime::Result<(FutureReader<Result<(), ErrorCode>>,)>;

pub(super) fn link(to: &mut Linking<'_>) -> wasmtime::Result<()> {
    to.add("wasi:filesystem/preopens@0.3.0", |preopens, views| {
        preopens.func_wrap("get-directories", move |store, ()| get_directories(store, views))
    })?;
    to.add("wasi:filesystem/types@0.3.0", growing)
}

fn growing(types: &mut LinkerInstance<'_, State>, views: &'static Views) -> wasmtime::Result<()> {
    types.func_wrap("[method]descriptor.write-via-stream", move |store, parameters| {
        write_via_stream(store, views, parameters)
    })?;
    types.func_wrap("[method]descriptor.append-via-stream", move |store, parameters| {
        append_via_stream(store, views, parameters)
    })?;
    types.func_wrap_concurrent("[method]descriptor.set-size", move |store, parameters| {
        Box::pin(set_size(store, views, parameters))
    })?;
    types.func_wrap_concurrent("[method]descriptor.open-at", move |store, parameters| {
        Box::pin(open_at(store, views, parameters))
    })?;
    types.func_wrap_concurrent(
        "[method]descriptor.create-directory-at",
        move |store, parameters| Box::pin(create_directory_at(store, views, parameters)),
    )?;
    types.func_wrap_concurrent("[method]descriptor.symlink-at", move |store, parameters| {
        Box::pin(symlink_at(store, views, parameters))
    })?;
    types.func_wrap_concurrent("[method]descriptor.link-at", move |store, parameters| {
        Box::pin(link_at(store, views, parameters))
    })?;
    types.func_wrap_concurrent("[method]descriptor.rename-at", move |store, parameters| {
        Box::pin(rename_at(store, views, parameters))
    })
}

/// What wasmtime-wasi's functions take in place of `store`.
fn access<'a>(store: Store<'a>, views: &Views) -> Access<'a, State, WasiFilesystem> {
    Access::<State, WasiFilesystem>::new(store, views.filesystem)
}

fn accessor(store: &Accessor<State>, views: &Views) -> Accessor<State, WasiFilesystem> {
    store.with_getter::<WasiFilesystem>(views.filesystem)
}

fn quota_of(store: &Accessor<State>, views: &Views, fd: &Fd) -> Option<Quota> {
    store.with(|mut store| store.get().caller(views.part).part.files.quota_of(fd))
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

fn get_directories(mut store: Store<'_>, views: &Views) -> wasmtime::Result<(Vec<(Fd, String)>,)> {
    let mut caller = store.data_mut().caller(views.part);
    let directories = caller.filesystem().get_directories()?;
    caller.part.files.given(&directories);
    Ok((directories,))
}

fn write_via_stream(
    mut store: Store<'_>,
    views: &'static Views,
    (fd, data, offset): (Fd, StreamReader<u8>, Filesize),
) -> Written {
    match store.data_mut().caller(views.part).metered(&fd)? {
        Some(file) => consume(store, data, file, Place::At(offset)),
        None => Ok((WasiFilesystem::write_via_stream(access(store, views), fd, data, offset)?,)),
    }
}

fn append_via_stream(
    mut store: Store<'_>,
    views: &'static Views,
    (fd, data): (Fd, StreamReader<u8>),
) -> Written {
    match store.data_mut().caller(views.part).metered(&fd)? {
        Some(file) => consume(store, data, file, Place::End),
        None => Ok((WasiFilesystem::append_via_stream(access(store, views), fd, data)?,)),
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

async fn set_size(
    store: &Accessor<State>,
    views: &'static Views,
    (fd, size): (Fd, Filesize),
) -> Answer<()> {
    match store.with(|mut store| store.get().caller(views.part).metered(&fd))? {
        Some(file) => io_answer(file.set_len(size).await),
        None => answer(WasiFilesystem::set_size(&accessor(store, views), fd, size).await),
    }
}

async fn open_at(
    store: &Accessor<State>,
    views: &'static Views,
    (fd, path_flags, path, open_flags, flags): (Fd, PathFlags, String, OpenFlags, DescriptorFlags),
) -> Answer<Fd> {
    let quota = quota_of(store, views, &fd);
    let files = accessor(store, views);
    let this = || Resource::new_borrow(fd.rep());
    let is_new = open_flags.contains(OpenFlags::CREATE)
        && WasiFilesystem::stat_at(&files, this(), path_flags, path.clone()).await.is_err();
    let room = room_for_entry(quota.clone().filter(|_| is_new)).await;
    let Ok(_room) = room else { return full() };
    let opened =
        WasiFilesystem::open_at(&files, this(), path_flags, path.clone(), open_flags, flags).await;
    let (answer,) = answer(opened)?;
    store.with(|mut store| match &answer {
        Ok(opened) => store.get().caller(views.part).opened_file(opened, quota),
        Err(ErrorCode::NotPermitted) => {
            store.get().caller(views.part).part.files.deny(&path);
            Ok(())
        }
        Err(_) => Ok(()),
    })?;
    Ok((answer,))
}

async fn create_directory_at(
    store: &Accessor<State>,
    views: &'static Views,
    (fd, path): (Fd, String),
) -> Answer<()> {
    let Ok(_room) = room_for_entry(quota_of(store, views, &fd)).await else { return full() };
    answer(WasiFilesystem::create_directory_at(&accessor(store, views), fd, path).await)
}

async fn symlink_at(
    store: &Accessor<State>,
    views: &'static Views,
    (fd, old_path, new_path): (Fd, String, String),
) -> Answer<()> {
    let Ok(_room) = room_for_entry(quota_of(store, views, &fd)).await else { return full() };
    answer(WasiFilesystem::symlink_at(&accessor(store, views), fd, old_path, new_path).await)
}

fn are_apart(store: &Accessor<State>, views: &Views, one: &Fd, other: &Fd) -> bool {
    store.with(|mut store| store.get().caller(views.part).part.files.are_apart(one, other))
}

async fn link_at(
    store: &Accessor<State>,
    views: &'static Views,
    (fd, old_flags, old_path, new_fd, new_path): (Fd, PathFlags, String, Fd, String),
) -> Answer<()> {
    if are_apart(store, views, &fd, &new_fd) {
        return Ok((Err(ErrorCode::CrossDevice),));
    }
    let Ok(_room) = room_for_entry(quota_of(store, views, &fd)).await else { return full() };
    let files = accessor(store, views);
    answer(WasiFilesystem::link_at(&files, fd, old_flags, old_path, new_fd, new_path).await)
}

async fn rename_at(
    store: &Accessor<State>,
    views: &'static Views,
    (fd, old_path, new_fd, new_path): (Fd, String, Fd, String),
) -> Answer<()> {
    if are_apart(store, views, &fd, &new_fd) {
        return Ok((Err(ErrorCode::CrossDevice),));
    }
    answer(WasiFilesystem::rename_at(&accessor(store, views), fd, old_path, new_fd, new_path).await)
}
