"""Starts Gantry's parts on one machine, keeps them running and stops them in order.

    options    the command line, turned into the environment variables that settings.py reads
    home       one supervisor per home: the lock; ports that are taken, and by whom
    tls        the self-made certificate and its fingerprint
    redis      which Redis is used, and our own one's command line
    parts      the parts themselves: command, what each waits for, how it shows that it is ready
    process    one child: spawn, relay its output, stop
    supervisor order, restarts, orderly stop
    output     prefixed, coloured lines

Nothing here but `parts` and `redis` knows Gantry: the supervisor is tested with toy children.
"""
