"""Speaks TLS on a port of its own and passes the bytes on to a plain server of this machine: tls_front.py CERTIFICATE KEY PORT.

Prints its port. Ends with its parent, whose end closes the standard input.
"""
import socket
import ssl
import sys
import threading


def pump(source, target):
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        pass
    for end in (source, target):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def serve(plain, context, port):
    try:
        client = context.wrap_socket(plain, server_side=True)
    except (ssl.SSLError, OSError):  # a client that does not trust the certificate goes
        plain.close()
        return
    server = socket.create_connection(("127.0.0.1", port))
    threading.Thread(target=pump, args=(server, client), daemon=True).start()
    pump(client, server)


def listen(context, port):
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0], context, port), daemon=True).start()


tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
tls.load_cert_chain(sys.argv[1], sys.argv[2])
threading.Thread(target=listen, args=(tls, int(sys.argv[3])), daemon=True).start()
sys.stdin.read()
