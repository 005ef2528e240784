/* What `interpreted_read` of bench/reads.py does, without the tuples and the list that Python's recvmsg makes around the
 * bytes and the stamp that are kept. Linux; hatch_build.py compiles it where there are a C compiler and Python's headers.
 */
#define _GNU_SOURCE
#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>

#define MOST 256
enum { SOCKET, KEPT, READER, ONLY_ENDS }; /* of a row, as `Row` of bench/reads.py has it */

static char arrived[65536]; /* the interpreter's lock is held from the read to the copy */

/* The packet's stamp where the kernel gave one, else the clock's: two int64, seconds and nanoseconds. */
static PyObject *stamp_of(struct msghdr *message) {
    struct cmsghdr *told = CMSG_FIRSTHDR(message);
    struct timespec at;
    if (told && told->cmsg_level == SOL_SOCKET && told->cmsg_type == SCM_TIMESTAMPNS)
        memcpy(&at, CMSG_DATA(told), sizeof at);
    else
        clock_gettime(CLOCK_REALTIME, &at);
    int64_t pair[2] = {at.tv_sec, at.tv_nsec};
    return PyBytes_FromStringAndSize((char *)pair, sizeof pair);
}

/* list.append that takes the reference; 0 where it went well. */
static int put(PyObject *list, PyObject *item) {
    int failed = !item || PyList_Append(list, item);
    Py_XDECREF(item);
    return failed;
}

/* Reads one socket; keeps what came, and adds to `told` what its reader has to know. 0 where it went well. */
static int read_one(int descriptor, PyObject *row, PyObject *told) {
    union {
        struct cmsghdr aligned;
        char bytes[64];
    } control;
    struct iovec to = {arrived, sizeof arrived};
    struct msghdr message = {.msg_iov = &to, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    ssize_t got = recvmsg(descriptor, &message, 0);
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) return 0;
    if (got < 0) return put(told, Py_BuildValue("(Oi)", row, errno));
    PyObject *kept = PyTuple_GetItem(row, KEPT), *only_ends = PyTuple_GetItem(row, ONLY_ENDS);
    PyObject *data = PyBytes_FromStringAndSize(arrived, got);
    if (!kept || !only_ends || !data) {
        Py_XDECREF(data);
        return 1;
    }
    int failed = got && (PyList_Append(kept, data) || put(kept, stamp_of(&message)));
    if (!failed && (got < 5 || arrived[got - 4] == '\r' || only_ends != Py_True))
        failed = put(told, Py_BuildValue("(OO)", row, data));
    Py_DECREF(data);
    return failed;
}

PyDoc_STRVAR(read_doc, "read(epoll, rows, most, /): read each socket that is ready, once and `most` at most; "
                       "how many, and [(row, bytes or errno)] of those whose reader has to know");

static PyObject *read_ready(PyObject *module, PyObject *arguments) {
    (void)module;
    int epoll, most;
    PyObject *rows;
    if (!PyArg_ParseTuple(arguments, "iO!i:read", &epoll, &PyList_Type, &rows, &most)) return NULL;
    struct epoll_event ready[MOST];
    int found = epoll_wait(epoll, ready, most < MOST ? most : MOST, 0);
    if (found < 0) return PyErr_SetFromErrno(PyExc_OSError);
    PyObject *told = PyList_New(0);
    int failed = !told;
    for (int k = 0; k < found && !failed; k++) {
        PyObject *row = PyList_GetItem(rows, ready[k].data.fd);
        failed = !row || read_one(ready[k].data.fd, row, told);
    }
    if (!failed) return Py_BuildValue("(iN)", found, told);
    Py_XDECREF(told);
    return NULL;
}

static PyMethodDef methods[] = {{"read", read_ready, METH_VARARGS, read_doc}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "bench._reads", NULL, 0, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__reads(void) { return PyModule_Create(&definition); }
