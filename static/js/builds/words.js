// What completion offers: instructions, their flags and the flags' values, each with a line saying what it does.

export const HINTS = {
  FROM: ["image[:tag] [AS name]", "Begins a stage from an image, an earlier stage or scratch."],
  ARG: ["NAME[=default]", "A value given to the build. It is seen in the history: no secrets."],
  RUN: ["command", "Runs a command in the stage; what it changes becomes a layer."],
  COPY: ["source… destination", "Copies files from the context, a stage or an image."],
  ADD: ["source… destination", "Like COPY; also unpacks archives and fetches URLs and git repositories."],
  ENV: ["NAME=value…", "Sets variables for what follows and for the container."],
  WORKDIR: ["/folder", "The folder for what follows; made when it is not there."],
  CMD: ['["program", "argument"]', "What a container runs unless told otherwise, or ENTRYPOINT’s arguments."],
  ENTRYPOINT: ['["program", "argument"]', "What a container always runs."],
  EXPOSE: ["port[/tcp|udp]…", "Says which ports the program listens on."],
  USER: ["user[:group]", "Who runs what follows, and the container."],
  VOLUME: ["/folder…", "Folders whose data outlives the container’s layers."],
  LABEL: ["name=value…", "Facts about the image."],
  HEALTHCHECK: ["[flags] CMD command | NONE", "How to see whether the container is well."],
  SHELL: ['["program", "argument"]', "What runs commands in shell form."],
  STOPSIGNAL: ["signal", "What tells the container to end."],
  ONBUILD: ["instruction", "Runs when another build begins from this image."],
  MAINTAINER: ["name", "Out of use: LABEL org.opencontainers.image.authors says it."],
};

// Flags end with "=" when a value has to follow.
export const FLAGS = {
  FROM: [["--platform=", "The platform whose image is taken, such as linux/arm64."]],
  RUN: [
    ["--mount=", "Something there only while the command runs: a cache, a secret, files of a stage."],
    ["--network=", "default, none or host."],
    ["--security=", "sandbox or insecure."],
  ],
  COPY: [
    ["--from=", "A stage above, or an image, to copy from."],
    ["--chown=", "user:group of what is copied."],
    ["--chmod=", "Mode of what is copied, such as 0644."],
    ["--link", "A layer of its own, whatever is below it."],
    ["--exclude=", "A pattern of what is left out; may be given again."],
    ["--parents", "Keeps the folders the sources are in."],
  ],
  ADD: [
    ["--chown=", "user:group of what is added."],
    ["--chmod=", "Mode of what is added, such as 0644."],
    ["--checksum=", "sha256:… that a download must have."],
    ["--keep-git-dir", "Keeps the .git of a repository."],
    ["--link", "A layer of its own, whatever is below it."],
    ["--exclude=", "A pattern of what is left out; may be given again."],
    ["--unpack=", "Whether archives are unpacked."],
  ],
  HEALTHCHECK: [
    ["--interval=", "Between two looks, such as 30s."],
    ["--timeout=", "How long a look may take, such as 5s."],
    ["--start-period=", "Time to start, in which failures do not count."],
    ["--start-interval=", "Between two looks while it starts."],
    ["--retries=", "Failures in a row that make it unhealthy."],
  ],
};

export const VALUES = {
  "--platform=": ["$BUILDPLATFORM", "$TARGETPLATFORM", "linux/amd64", "linux/arm64", "linux/arm/v7", "linux/386", "linux/ppc64le", "linux/riscv64", "linux/s390x"],
  "--network=": ["default", "none", "host"],
  "--security=": ["sandbox", "insecure"],
  "--link=": ["true", "false"],
  "--parents=": ["true", "false"],
  "--unpack=": ["true", "false"],
  "--keep-git-dir=": ["true", "false"],
};

export const MOUNTS = {
  cache: ["A folder kept between builds, such as a package manager’s.", ["target=", "id=", "sharing=", "from=", "source=", "mode=", "uid=", "gid=", "ro"]],
  bind: ["Files of the context, a stage or an image, read-only unless rw.", ["target=", "source=", "from=", "rw"]],
  secret: ["A secret of the build, as a file or a variable; never in a layer.", ["id=", "target=", "env=", "required", "mode=", "uid=", "gid="]],
  tmpfs: ["A folder in memory, gone after the command.", ["target=", "size="]],
  ssh: ["An SSH agent’s socket.", ["id=", "target=", "required", "mode=", "uid=", "gid="]],
};

export const SHARING = ["shared", "private", "locked"];
export const PREDEFINED = ["TARGETPLATFORM", "TARGETOS", "TARGETARCH", "TARGETVARIANT", "BUILDPLATFORM", "BUILDOS", "BUILDARCH", "BUILDVARIANT"];
