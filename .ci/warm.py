"""Start kernels quickly: a process that has imported the model libraries forks for each notebook.

A new kernel spends most of its first ten seconds on imports that are the same for every notebook. The process
does not import realness, so every notebook imports the current package. `notebooks.py --cold` starts ordinary
kernels instead.

    python .ci/warm.py SOCKET               # the process that forks; it ends with its standard input
    python .ci/warm.py SOCKET ARGUMENT...   # request one kernel; this process ends together with it
"""

import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import threading

LIBRARIES = (
    'pandas',
    'safetensors.torch',
    'scipy.stats',
    'sklearn.model_selection',
    'sklearn.svm',
    'skimage',
    'timm',
    'torch',
    'torchvision',
    'transformers',
    'open_clip',
    'IPython.core.interactiveshell',
    'ipykernel.kernelapp',
    'ipywidgets',
    'anywidget',
)


def exit_with_client(connection):
    """End this kernel when the process that asked for it has gone."""
    connection.recv(1)
    os._exit(1)


def run_kernel(connection, job: dict):
    """In the forked child: do what `python -m ipykernel_launcher` does."""
    threading.Thread(target=exit_with_client, args=(connection,), daemon=True).start()
    os.chdir(job['cwd'])
    os.environ.clear()
    os.environ.update(job['env'])
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # nobody reads the pipe of the parent
    sys.argv = ['ipykernel_launcher', *job['argv']]
    import pandas
    from ipykernel.kernelapp import launch_new_instance

    pandas.set_option('display.max_columns', 20)  # pandas looked for a terminal at import; a kernel has none
    launch_new_instance()
    os._exit(0)


def import_libraries():
    """Import the libraries that the notebooks share, but not realness."""
    os.environ['MPLBACKEND'] = 'module://matplotlib_inline.backend_inline'  # as in a kernel
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [folder for folder in sys.path if os.path.abspath(folder or '.') != here]
    for name in LIBRARIES:
        importlib.import_module(name)
    assert not any(name.partition('.')[0] == 'realness' for name in sys.modules)
    gc.collect()
    gc.freeze()


def accept_job(server) -> tuple | None:
    """(connection, job) of the next request; None when standard input has ended."""
    while True:
        readable = select.select([server, sys.stdin], [], [])[0]
        if sys.stdin in readable:
            return None
        if server in readable:
            connection, _ = server.accept()
            return connection, json.loads(connection.makefile().readline())


def serve(path: str):
    """Fork a kernel for every request on a Unix socket."""
    import_libraries()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen()
    print('ready', flush=True)
    while request := accept_job(server):
        connection, job = request
        assert threading.active_count() == 1  # a fork copies one thread only
        if os.fork():
            connection.close()
            continue
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        server.close()
        run_kernel(connection, job)


def request_kernel(path: str, argv: list):
    """Ask for a kernel and wait until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Jupyter interrupts the kernel, not this process
    job = {'argv': argv, 'cwd': os.getcwd(), 'env': dict(os.environ)}
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(path)
    connection.sendall((json.dumps(job) + '\n').encode())
    connection.recv(1)


if __name__ == '__main__':
    if sys.argv[2:]:
        request_kernel(sys.argv[1], sys.argv[2:])
    else:
        serve(sys.argv[1])
