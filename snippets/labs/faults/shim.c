/* What a program has made durable, kept apart: preloaded into a server, without any privilege.
 *
 * The server works below $SHIM_LIVE. At each fsync and fdatasync, what becomes durable by it is
 * copied below $SHIM_DURABLE, under the same name. A loss of power is then: kill the server, and
 * put the durable folder in the place of the live one.
 *
 * The model is strict. Bytes are durable when their file is synchronised; a name that was made,
 * changed or removed is durable when its folder or the file itself is synchronised. Nothing is
 * ever durable for any other reason, while a kernel also writes out of its own accord.
 *
 * Not seen are msync, O_SYNC and O_DSYNC, and programs that are linked statically. Files above
 * SMALL bytes are taken to grow only at their end, as the logs of both servers do.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SMALL = 65536 };

/* A rename of a durable name that is not durable itself yet. */
struct renaming {
    char *from, *to;
    struct renaming *next;
};

/* How much of a file was durable when it was last synchronised. */
struct extent {
    dev_t device;
    ino_t inode;
    off_t size;
    struct extent *next;
};

static char *live, *durable;
static struct renaming *renamings;
static struct extent *extents;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_renameat)(int, const char *, int, const char *);

static void hold(void) { pthread_mutex_lock(&lock); }
static void let_go(void) { pthread_mutex_unlock(&lock); }

__attribute__((constructor)) static void begin(void) {
    real_fsync = dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    real_renameat = dlsym(RTLD_NEXT, "renameat");
    /* A server may overwrite its environment, as Redis does to show a title. */
    if (getenv("SHIM_LIVE") && getenv("SHIM_DURABLE")) {
        live = strdup(getenv("SHIM_LIVE"));
        durable = strdup(getenv("SHIM_DURABLE"));
    }
    /* A child that is forked while another thread synchronises must find the lock free. */
    pthread_atfork(hold, let_go, let_go);
}

static int is_below(const char *path, const char *folder) {
    size_t length = strlen(folder);
    return strncmp(path, folder, length) == 0 && (path[length] == '/' || path[length] == 0);
}

static int is_in(const char *path, const char *folder) {
    size_t length = strlen(folder);
    return is_below(path, folder) && path[length] == '/' && !strchr(path + length + 1, '/');
}

/* Writes the durable counterpart of a live path; returns 0 if there is none. */
static int counterpart(const char *path, char *out) {
    if (!live || !is_below(path, live)) return 0;
    return snprintf(out, PATH_MAX, "%s%s", durable, path + strlen(live)) < PATH_MAX;
}

static int path_of(int fd, char *out) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, out, PATH_MAX - 1);
    if (length < 0) return 0;
    out[length] = 0;
    return 1;
}

/* Writes the durable counterpart of a path as given to a system call. */
static int counterpart_at(int folder, const char *path, char *out) {
    char absolute[2 * PATH_MAX], base[PATH_MAX];
    if (path[0] == '/') return counterpart(path, out);
    if (folder == AT_FDCWD ? !getcwd(base, sizeof base) : !path_of(folder, base)) return 0;
    while (path[0] == '.' && path[1] == '/') path += 2;
    snprintf(absolute, sizeof absolute, "%s/%s", base, path);
    return counterpart(absolute, out);
}

static int remove_one(const char *path, const struct stat *s, int type, struct FTW *ftw) {
    (void)s, (void)type, (void)ftw;
    return remove(path);
}

static void remove_tree(const char *path) { nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS); }

static void make_parents(const char *path) {
    char parent[PATH_MAX];
    snprintf(parent, sizeof parent, "%s", path);
    for (char *s = parent + 1; *s; s++)
        if (*s == '/') {
            *s = 0;
            mkdir(parent, 0755);
            *s = '/';
        }
}

/* What was below one name is now below another. */
static void move_below(char **path, const char *from, const char *to) {
    char moved[2 * PATH_MAX];
    if (!is_below(*path, from)) return;
    snprintf(moved, sizeof moved, "%s%s", to, *path + strlen(from));
    free(*path);
    *path = strdup(moved);
}

static void make_durable(struct renaming *each) {
    struct stat s;
    if (!lstat(each->from, &s)) {
        make_parents(each->to);
        if (S_ISDIR(s.st_mode)) remove_tree(each->to);
        real_renameat(AT_FDCWD, each->from, AT_FDCWD, each->to);
        for (struct renaming *other = renamings; other; other = other->next)
            if (other != each) move_below(&other->from, each->from, each->to);
    }
}

/* Makes durable, in their order, the renames that go along with a synchronised name. */
static void rename_with(const char *path, int is_folder) {
    for (struct renaming **link = &renamings; *link;) {
        struct renaming *each = *link;
        int goes = is_below(path, each->to) || !strcmp(path, each->from)
                   || (is_folder && (is_in(each->to, path) || is_in(each->from, path)));
        if (goes) {
            make_durable(each);
            *link = each->next;
            free(each->from), free(each->to), free(each);
        } else
            link = &each->next;
    }
}

static void note_rename(const char *from, const char *to) {
    struct renaming **link = &renamings;
    int known = 0;
    for (; *link; link = &(*link)->next) {
        known |= !strcmp((*link)->to, from);
        move_below(&(*link)->to, from, to);
    }
    if (!known) {
        *link = calloc(1, sizeof **link);
        (*link)->from = strdup(from), (*link)->to = strdup(to);
    }
}

/* The names in a folder, as they are, become durable; the bytes of the files don't. */
static void keep_names(const char *path, const char *kept) {
    char name[2 * PATH_MAX];
    struct dirent *entry;
    struct stat s;
    mkdir(kept, 0755);
    DIR *folder = opendir(path);
    while (folder && (entry = readdir(folder))) {
        snprintf(name, sizeof name, "%s/%s", kept, entry->d_name);
        if (!lstat(name, &s)) continue;
        if (entry->d_type == DT_DIR)
            mkdir(name, 0755);
        else
            close(open(name, O_CREAT | O_WRONLY, 0644));
    }
    if (folder) closedir(folder);
    folder = opendir(kept);
    while (folder && (entry = readdir(folder))) {
        snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
        if (!lstat(name, &s)) continue;
        snprintf(name, sizeof name, "%s/%s", kept, entry->d_name);
        remove_tree(name);
    }
    if (folder) closedir(folder);
}

static struct extent *extent_of(const struct stat *s) {
    struct extent *each = extents;
    while (each && (each->inode != s->st_ino || each->device != s->st_dev)) each = each->next;
    if (!each) {
        each = calloc(1, sizeof *each);
        each->device = s->st_dev, each->inode = s->st_ino;
        each->next = extents, extents = each;
    }
    return each;
}

/* The bytes of a file become durable. */
static void keep_bytes(const char *path, const char *kept, const struct stat *s) {
    char bytes[SMALL];
    ssize_t got;
    struct stat before;
    int in = open(path, O_RDONLY), out = open(kept, O_CREAT | O_WRONLY, 0644);
    if (in >= 0 && out >= 0 && !fstat(out, &before)) {
        struct extent *known = extent_of(s);
        int grown = known->size == before.st_size && s->st_size >= known->size;
        off_t at = grown && known->size > SMALL ? known->size : 0;
        while ((got = pread(in, bytes, sizeof bytes, at)) > 0)
            at += pwrite(out, bytes, got, at);
        if (ftruncate(out, at)) perror("shim");
        known->size = at;
    }
    if (in >= 0) close(in);
    if (out >= 0) close(out);
}

static void keep(int fd) {
    char path[PATH_MAX], kept[PATH_MAX];
    struct stat s;
    if (!path_of(fd, path) || !counterpart(path, kept) || fstat(fd, &s)) return;
    hold();
    rename_with(kept, S_ISDIR(s.st_mode));
    make_parents(kept);
    if (S_ISDIR(s.st_mode))
        keep_names(path, kept);
    else
        keep_bytes(path, kept, &s);
    let_go();
}

int fsync(int fd) {
    int failed = real_fsync(fd);
    if (!failed) keep(fd);
    return failed;
}

int fdatasync(int fd) {
    int failed = real_fdatasync(fd);
    if (!failed) keep(fd);
    return failed;
}

int renameat(int from_folder, const char *from, int to_folder, const char *to) {
    char kept_from[PATH_MAX], kept_to[PATH_MAX];
    int known = counterpart_at(from_folder, from, kept_from)
                && counterpart_at(to_folder, to, kept_to);
    hold();
    int failed = real_renameat(from_folder, from, to_folder, to);
    if (!failed && known) note_rename(kept_from, kept_to);
    let_go();
    return failed;
}

int rename(const char *from, const char *to) { return renameat(AT_FDCWD, from, AT_FDCWD, to); }
