"""Kernels that start at once: a process that has imported the model libraries, and nothing of realness, forks for each notebook.

A fresh kernel spends most of its first ten seconds on imports that never differ. Only where there is fork; `--cold` of notebooks.py does without.

    python .ci/warm.py SOCKET                   # the process that forks; it says `ready`, and ends with its standard input
    python .ci/warm.py SOCKET ARGUMENT...       # one kernel; lives as long as it, as Jupyter expects of what it starts
"""

import json
import os
import socket
import sys

LIBRARIES = (
    'pandas, safetensors.torch, scipy.stats, sklearn.model_selection, sklearn.svm, skimage, timm, torch, torchvision, transformers, open_clip, '
    'IPython.core.interactiveshell, ipykernel.kernelapp, ipywidgets, anywidget'
)


def kernel(conn, job):
    "In the child: what `python -m ipykernel_launcher` does; ends when whoever asked for it has gone."
    import threading

    threading.Thread(target=lambda: (conn.recv(1), os._exit(1)), daemon=True).start()
    os.chdir(job['cwd'])
    os.environ.clear()
    os.environ.update(job['env'])
    sys.argv = ['ipykernel_launcher', *job['argv']]
    import pandas

    pandas.set_option(
        'display.max_columns', 20
    )  # it asked at import whether it is in a terminal; a kernel is none
    from ipykernel.kernelapp import launch_new_instance

    launch_new_instance()
    os._exit(0)


def serve(path):
    import gc
    import importlib
    import select
    import signal
    import threading

    os.environ['MPLBACKEND'] = (
        'module://matplotlib_inline.backend_inline'  # as in a kernel, whoever imports matplotlib first
    )
    sys.path[:] = [
        o for o in sys.path if os.path.abspath(o or '.') != os.path.dirname(os.path.abspath(__file__))
    ]
    for name in LIBRARIES.split(', '):
        importlib.import_module(name)
    assert not any(m.split('.')[0] == 'realness' for m in sys.modules)
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    s = socket.socket(socket.AF_UNIX)
    s.bind(path)
    s.listen()
    print('ready', flush=True)
    while True:
        if sys.stdin in (readable := select.select([s, sys.stdin], [], [])[0]):
            return
        if s not in readable:
            continue
        conn, _ = s.accept()
        job = json.loads(conn.makefile().readline())
        assert threading.active_count() == 1
        if os.fork():
            conn.close()
            continue
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        s.close()
        kernel(conn, job)


def ask(path, argv):
    "Ask for a kernel, and stay until it ends; interrupts are for others."
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    conn = socket.socket(socket.AF_UNIX)
    conn.connect(path)
    conn.sendall((json.dumps(dict(argv=argv, cwd=os.getcwd(), env=dict(os.environ))) + '\n').encode())
    conn.recv(1)


if __name__ == '__main__':
    ask(sys.argv[1], sys.argv[2:]) if sys.argv[2:] else serve(sys.argv[1])
