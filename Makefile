# make run: a first container.  make test: all tests.  README.md says more.
PREFIX  ?= /usr/local
PYTHON  ?= /usr/bin/python3
CC      ?= gcc
ROUNDS  ?= 50
RUNTIME ?= pyrun
LIBRARY  = $(PREFIX)/lib/pyrun
VENV     = build/venv/bin

# The executor has no libc and nothing that a linker adds for one: it lives in the memory of every container.
EXECUTOR  = runtime/machine/executor
SOURCES   = $(addprefix runtime/machine/, executor.c system.h hosted.h)
WARNINGS  = -std=gnu11 -Wall -Wextra -Werror
TINY      = $(WARNINGS) -Os -ffreestanding -fno-stack-protector -fno-asynchronous-unwind-tables -fno-pie -no-pie \
            -static -nostdlib -s -Wl,--build-id=none,-z,noexecstack,-z,norelro,-z,noseparate-code \
            -DSYSTEM='"system.h"'
SANITIZED = $(WARNINGS) -g -fsanitize=address,undefined -fno-sanitize-recover -DSYSTEM='"hosted.h"'
MOST      = 16384
FITS      = test $$(wc -c < $@) -lt $(MOST) || { echo "$@ is not below $(MOST) bytes" >&2; rm -f $@; exit 1; }

BUILD_NEEDS = gcc libc6-dev libcap-dev libseccomp2 python3-dev python3-venv
TEST_NEEDS  = busybox-static chromium crun dbus gnupg gpgv golang-github-opencontainers-specs-dev iproute2 iptables pipx procps qemu-user-static runc strace systemd time uidmap util-linux
ifneq ($(shell uname -m),aarch64)
TEST_NEEDS += gcc-aarch64-linux-gnu
endif
NEEDS = $(BUILD_NEEDS)

# Where cgroup v2 is the only one.
GUEST       = tests/guest/guest
GUEST_CACHE ?= $(HOME)/.cache/guest
IN_GUEST    = { test -d $(GUEST_CACHE)/boot || $(GUEST) build; } && $(GUEST) run --host-root --share $(CURDIR) --timeout 900
export GUEST_CACHE

# What is tested: this checkout by the plain launcher, or by FORM=installed what `make install` makes, its image included.
FORM   ?= checkout
TESTED  = build/$(if $(filter installed,$(FORM)),stage/bin/)pyrun

.PHONY: build checkout installed image-aarch64 setup setup-tests run test unit test-here all-guest test-guest test-managers test-managers-guest test-criu trial trial-guest conformance conformance-guest conformance-all lint bench bench-managers plots docs pictures install uninstall deb test-deb wheel test-wheel test-musl sbom clean
.DELETE_ON_ERROR:

build: $(EXECUTOR) build/editable build/pyrun build/release/version.py

$(EXECUTOR): $(SOURCES) Makefile
	$(CC) $(TINY) -o $@ $<
	@$(FITS)

build/executor.aarch64: $(SOURCES) Makefile
	aarch64-linux-gnu-gcc $(TINY) -o $@ $<
	@$(FITS)

build/executor.hosted: $(SOURCES) Makefile
	$(CC) $(SANITIZED) -o $@ $<

# REQUIREMENTS prints what pyproject.toml asks for, and with an argument the extra of that name.
REQUIREMENTS = $(PYTHON) -c 'import sys, tomllib; project = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
	print(*project["dependencies"], *(line for name in sys.argv[1:] for line in project["optional-dependencies"][name]), sep="\n")'

# Wheels are kept outside of the checkout: the next one needs no registry, and one that can't be reached is no obstacle.
WHEELS ?= $(HOME)/.cache/pyrun-wheels
PIP     = $(VENV)/pip -q --disable-pip-version-check
define INSTALL
	$(PIP) install --no-index --find-links $(WHEELS) $(1) 2> /dev/null || \
		{ $(PIP) wheel --use-pep517 --wheel-dir $(WHEELS) $(2) && $(PIP) install --no-index --find-links $(WHEELS) $(1); }
endef

build/venv/bin/pip:
	$(PYTHON) -m venv build/venv

build/venv/ready: pyproject.toml build/venv/bin/pip
	$(REQUIREMENTS) dev prctl > build/requirements-dev.txt
	mkdir -p $(WHEELS)
	$(call INSTALL,-r build/requirements-dev.txt,-r build/requirements-dev.txt)
	touch $@

build/venv/managers: build/venv/ready
	$(REQUIREMENTS) managers > build/requirements-managers.txt
	$(call INSTALL,-r build/requirements-managers.txt,-r build/requirements-managers.txt)
	touch $@

build/venv/packages: build/venv/ready
	$(REQUIREMENTS) packages > build/requirements-packages.txt
	$(call INSTALL,-r build/requirements-packages.txt,-r build/requirements-packages.txt)
	touch $@

build/dependencies: pyproject.toml build/venv/bin/pip
	rm -rf $@
	mkdir -p $(WHEELS)
	$(REQUIREMENTS) prctl > build/requirements.txt
	$(call INSTALL,--no-compile --target $@ -r build/requirements.txt,-r build/requirements.txt)
	rm -rf $@/bin

# `pip install -e .`; strict, so that type checkers and editors, which run no import hooks, find every module as well.
# It knows only the files that were there, so it is done again when there are others.
build/editable: build/venv/ready build/modules $(EXECUTOR) setup.py
	rm -rf build/__editable__.*
	$(PIP) install --no-index --no-deps --no-build-isolation --config-settings editable_mode=strict -e .
	touch $@

build/modules: FORCE
	@mkdir -p build; new=$$(find hooks runtime spec -name '*.py' | sort); test "$$new" = "$$(cat $@ 2> /dev/null)" || echo "$$new" > $@

FORCE:

build/pyrun: packaging/pyrun.in build/venv/ready
	sed -e 's|@HOT@|()|; s|@PYTHON@|$(PYTHON)|; s|@LIBRARY@|$(CURDIR)/build|; s|@PATH@|["$(CURDIR)/build/release", "$(CURDIR)/runtime", "$(CURDIR)"]|' \
	    -e "s|@DEPENDENCIES@|$$($(VENV)/python -c 'import sysconfig; print(sysconfig.get_path("platlib"))')|" $< > $@
	chmod +x $@

# Which commit it is: it stands before runtime/version.py in build/pyrun's path.
build/release/version.py: FORCE
	@$(PYTHON) -IS packaging/release.py write $@

# Python as one executable, of which an install makes the image that starts the hot verbs; empty where Python's static
# library is missing. `make install IMAGE=` does without.
IMAGE ?= yes
build/engine: $(wildcard packaging/image/*)
	$(PYTHON) -IS packaging/image/build.py engine $@.new && mv $@.new $@ || { test $$? = 3 && : > $@; }

# The same for Debian on aarch64, made and run by emulation, in a tree of its own.
image-aarch64: build build/executor.aarch64 build/dependencies
	@$(MAKE) --no-print-directory setup NEEDS="gcc-aarch64-linux-gnu mmdebstrap qemu-user-static"
	packaging/image/aarch64.sh $(CURDIR) build/aarch64

# Debian's packages, only those that are missing: what building takes, or with setup-tests what the tests take as well.
setup-tests:
	@$(MAKE) --no-print-directory setup NEEDS="$(BUILD_NEEDS) $(TEST_NEEDS)"

setup:
	@missing=; for name in $(NEEDS); do \
		test "$$(dpkg-query -Wf '$${db:Status-Status}' $$name 2>/dev/null)" = installed || missing="$$missing $$name"; \
	done; \
	test -n "$$missing" || exit 0; \
	if test $$(id -u) != 0; then echo "missing, to be installed by root: apt-get install$$missing" >&2; exit 1; fi; \
	export DEBIAN_FRONTEND=noninteractive; \
	install="apt-get -qq -o DPkg::Lock::Timeout=300 install -y --no-install-recommends$$missing"; \
	$$install || { apt-get -qq update && $$install; }

build/bundle: packaging/hello build/pyrun $(EXECUTOR)
	rm -rf $@
	mkdir -p $@/rootfs/bin $@/rootfs/proc $@/rootfs/sys $@/rootfs/dev
	cp /bin/busybox $@/rootfs/bin
	for name in $$(/bin/busybox --list | grep -vx busybox); do ln -s busybox $@/rootfs/bin/$$name; done
	cp packaging/hello $@/rootfs/hello
	build/pyrun spec --bundle $@ $(if $(filter 0,$(shell id -u)),,--rootless)
	sed -i -e 's/"terminal": true/"terminal": false/' -e 's|"sh"|"/hello"|' $@/config.json

run:
	@$(MAKE) --no-print-directory setup NEEDS="$(BUILD_NEEDS) busybox-static"
	@$(MAKE) --no-print-directory build build/bundle
	@# A checkout may lie where others can write, and a store may not.
	store=$$(mktemp -d) && build/pyrun --root $$store run --bundle build/bundle hello-$$$$; code=$$?; rmdir $$store; exit $$code

# Here, and as root on x86_64 also in a guest with cgroup v2: at the same time, since that has a kernel of its own. What
# each says comes when it has ended.
test: setup-tests
	@$(MAKE) --no-print-directory build build/executor.aarch64 build/executor.hosted build/venv/packages
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=recurse \
		$(if $(filter 0x86_64,$(shell id -u)$(shell uname -m)),all-guest) test-here

all-guest:
	@$(MAKE) --no-print-directory --jobs=1 test-guest
	@$(MAKE) --no-print-directory --jobs=1 conformance-guest

# What is quick and needs no root, while one works.
unit: build $(wildcard build/executor.aarch64 build/executor.hosted)
	QUICK=1 $(VENV)/python -m pytest tests/unit -m "not slow"

# They make and use forms of their own.
OTHER_FORMS = install packages upgrade

# As root in a mount namespace, so that no mistake of a test can reach the machine's mounts.
test-here: $(FORM) build/venv/packages
	MAKEFLAGS= $(if $(filter 0,$(shell id -u)),unshare -m )$(VENV)/python -m pytest --runtime=$(CURDIR)/$(TESTED) \
		$(if $(filter installed,$(FORM)),$(OTHER_FORMS:%=--ignore=tests/integration/test_%.py) tests/integration tests/security,tests)

checkout: build
installed: build
	@$(MAKE) --no-print-directory install PREFIX=$(CURDIR)/build/stage

# About so many minutes of whatever a caller, a disk or the kernel can do to pyrun: tests/trial. TRIAL: words of the names
# of those to be made. The installed form is tried.
MINUTES ?= 10
SEED    ?= 1
TRIAL_OF = $(VENV)/python -m tests.trial --pyrun build/stage/bin/pyrun --seed $(SEED) $(TRIAL) --minutes
trial: build
	@$(MAKE) --no-print-directory install PREFIX=$(CURDIR)/build/stage
	$(TRIAL_OF) $(MINUTES)

# The same on cgroup v2: under the cgroupfs driver, where the short form will do, and under systemd's.
trial-guest: build
	@$(MAKE) --no-print-directory install PREFIX=$(CURDIR)/build/stage
	$(IN_GUEST) -- $(TRIAL_OF) 0
	$(IN_GUEST) --systemd --timeout 7200 -- $(TRIAL_OF) $(MINUTES) --systemd-cgroup

# Real managers from Debian's packages, with RUNTIME below them; they run in namespaces of their own.
MANAGERS = buildah catatonit conmon containerd containernetworking-plugins docker.io iproute2 iptables netavark podman
test-managers: build build/venv/managers
	@$(MAKE) --no-print-directory setup NEEDS="$(BUILD_NEEDS) $(TEST_NEEDS) $(MANAGERS)"
	@$(MAKE) --no-print-directory install PREFIX=$(CURDIR)/build/stage
	unshare -m $(VENV)/python -m pytest tests/managers $(if $(filter-out pyrun,$(RUNTIME)),--runtime=$(shell command -v $(RUNTIME)))

# Podman in a throw-away machine with cgroup v2: with systemd's cgroups, and as a user without root. With SUITE (bookworm,
# trixie, forky) all managers of that Debian, by its own Python, and a whole Debian as an image.
ifdef SUITE
test-managers-guest:
	tests/guest/managers $(SUITE)
	tests/guest/managers $(SUITE) --systemd
	tests/guest/managers $(SUITE) --rootless
else
test-managers-guest: build build/venv/managers
	@$(MAKE) --no-print-directory setup NEEDS="$(BUILD_NEEDS) $(TEST_NEEDS) $(MANAGERS)"
	@$(MAKE) --no-print-directory install PREFIX=$(CURDIR)/build/stage
	test -d $(GUEST_CACHE)/boot || $(GUEST) build
	$(GUEST) run --systemd --host-root --share $(CURDIR) -- env CGROUP_MANAGER=systemd \
		$(VENV)/python -m pytest --color=no -p no:cacheprovider tests/managers/test_podman.py -m guest
	$(GUEST) run --host-root --share $(CURDIR) -- sh -c 'useradd --create-home box; grep -q box /etc/subuid || \
		echo box:200000:65536 | tee -a /etc/subuid >> /etc/subgid; exec env PODMAN_USER=box $(VENV)/python -m pytest \
		--color=no -p no:cacheprovider tests/managers/test_podman.py -m rootless'
endif

GUEST_PYTEST = $(VENV)/python -m pytest --runtime=$(CURDIR)/$(TESTED) --color=no -p no:cacheprovider

# In a throw-away machine with this machine's files, a kernel of its own, and unified cgroup v2: under the cgroupfs driver,
# and under systemd's.
test-guest: $(FORM)
	$(IN_GUEST) -- $(GUEST_PYTEST) -m guest tests/integration
	$(IN_GUEST) --systemd -- $(GUEST_PYTEST) -m "systemd and not deviates" --systemd-cgroup tests/integration conformance

# All of conformance/, on cgroup v2.
conformance-guest: $(FORM)
	$(IN_GUEST) -- $(VENV)/python -m conformance run pyrun $(CURDIR)/$(TESTED) --tb=short --color=no -p no:cacheprovider

# checkpoint and restore with CRIU, which takes a kernel that has all it asks for: in an emulated PC, with Debian's.
test-criu: build
	tests/guest/criu $(if $(filter-out pyrun,$(RUNTIME)),--runtime=/usr/bin/$(RUNTIME))

# make conformance RUNTIME=pyrun (or runc, crun, a path); RUNTIME_TOOLS=DIR: OCI runtime-tools' programs, built there.
conformance: $(FORM)
	$(if $(RUNTIME_TOOLS),$(VENV)/python -m conformance.runtime_tools \
		$(if $(filter pyrun,$(RUNTIME)),$(TESTED),$(RUNTIME)) $(RUNTIME_TOOLS),$(VENV)/python -m conformance run $(RUNTIME) \
		$(if $(filter pyrun,$(RUNTIME)),$(CURDIR)/$(TESTED)) --tb=short)

# Refreshes what is recorded of pyrun and its peers.
conformance-all: build
	$(VENV)/python -m conformance record pyrun runc crun

lint: build
	$(VENV)/ruff check
	$(VENV)/ruff format --check
	$(VENV)/mypy -p pyrun -p conformance

# The installed form is what is measured.
bench: build
	@$(MAKE) --no-print-directory install PREFIX=$(CURDIR)/build/stage
	unshare -m $(PYTHON) -m bench.bench --pyrun build/stage/bin/pyrun --rounds $(ROUNDS) $(BENCH)

# How long Podman, ctr and a kubelet's execs take with each runtime. With BENCH=--record a part of bench/RESULTS.md: before it.
bench-managers: build build/venv/managers
	@$(MAKE) --no-print-directory setup NEEDS="$(BUILD_NEEDS) $(TEST_NEEDS) $(MANAGERS)"
	@$(MAKE) --no-print-directory install PREFIX=$(CURDIR)/build/stage
	ROUNDS=$(ROUNDS) BENCH=$(BENCH) unshare -m $(VENV)/python -m pytest -s tests/managers/speed.py

build/venv/plots: build/venv/ready
	$(REQUIREMENTS) plots > build/requirements-plots.txt
	$(call INSTALL,-r build/requirements-plots.txt,-r build/requirements-plots.txt)
	touch $@

plots: build/venv/plots
	$(VENV)/python -m bench.plots

build/venv/docs: build/venv/ready
	$(REQUIREMENTS) docs > build/requirements-docs.txt
	$(call INSTALL,-r build/requirements-docs.txt,-r build/requirements-docs.txt)
	touch $@

# The documents as a site, in build/site: a link that leads nowhere fails it, and so does what another host would be asked for.
docs: build build/venv/docs
	rm -rf build/site
	$(VENV)/sphinx-build --fail-on-warning --keep-going --quiet --fresh-env -c packaging/site -d build/doctrees . build/site
	cp build/site/README.html build/site/index.html
	$(VENV)/python packaging/site/loads.py build/site

pictures: build
	$(VENV)/python packaging/site/pictures.py

# Both replace and remove in an order in which commands that run meanwhile find either all or nothing: see there.
install: $(EXECUTOR) build/dependencies $(if $(IMAGE),build/engine)
	$(PYTHON) -IS packaging/install.py install "$(DESTDIR)" "$(PREFIX)" "$(LIBRARY)" "$(PYTHON)" \
		$(if $(IMAGE),"$$(test -s build/engine && echo $(CURDIR)/build/engine)")

uninstall:
	$(PYTHON) -IS packaging/install.py uninstall "$(DESTDIR)" "$(PREFIX)" "$(LIBRARY)"

COMMA = ,
# A Debian package, for the Debian that this is run on; lintian finds nothing in it.
deb: build
	@$(MAKE) --no-print-directory setup NEEDS="$(BUILD_NEEDS) dpkg-dev lintian"
	packaging/deb/build.sh $(CURDIR) build/deb
	lintian --fail-on error,warning --allow-root $(if $(DEBEMAIL),,--suppress-tags bogus-mail-host$(COMMA)bogus-mail-host-in-debian-changelog) build/deb/pyrun_*.deb

# It is installed, used and removed where there is nothing but Debian.
test-deb: deb
	tests/guest/deb build/deb/pyrun_*.deb

# Wheels that need no compiler and no libc, for this machine and for aarch64; auditwheel agrees.
MACHINES = $(sort $(shell uname -m) aarch64)
wheel: build build/venv/packages
	@$(MAKE) --no-print-directory setup NEEDS="$(BUILD_NEEDS) $(filter gcc-%,$(TEST_NEEDS))"
	rm -rf build/wheels
	for machine in $(MACHINES); do $(PIP) wheel --no-deps --no-build-isolation --wheel-dir build/wheels \
		--config-settings=--build-option=--plat-name=linux_$$machine . || exit; done
	for wheel in build/wheels/*; do $(VENV)/auditwheel show $$wheel || exit; done

# Installed by pip and by pipx, and used, where there is nothing but Debian, and no compiler.
test-wheel: wheel
	tests/guest/wheel build/wheels/*_$(shell uname -m).whl

# And where there is no glibc, by a Python that is built for it first.
test-musl: wheel
	@$(MAKE) --no-print-directory setup NEEDS="$(BUILD_NEEDS) busybox-static musl-tools"
	tests/guest/musl build/wheels/*_$(shell uname -m).whl

# What `make install` puts in place, in CycloneDX's form.
sbom: build/pyrun.cdx.json
build/pyrun.cdx.json: build build/venv/packages build/dependencies $(if $(IMAGE),build/engine) FORCE
	$(VENV)/python packaging/sbom.py $@ $(if $(IMAGE),$$(test -s build/engine && echo build/engine))

clean:
	rm -rf build $(EXECUTOR)
