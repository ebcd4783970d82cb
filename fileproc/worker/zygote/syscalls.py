"""Numbers of the system calls that the filter names, for both architectures we ship.

Source: asm/unistd_64.h (x86_64) and asm-generic/unistd.h (aarch64) of Linux 6.1, and for numbers
above 450 syscall.tbl of Linux 6.10; from 424 on both architectures count alike.
"""

from __future__ import annotations

# The highest number the lists below were checked against (mseal). What is newer gets ENOSYS, and
# the C library falls back on what it did before.
NEWEST = 462

# name, x86_64, aarch64; "-": the architecture never had it.
_DENIED = """
# No network, and no socket of any kind: a Unix socket reaches docker.sock
socket 41 198
socketpair 53 199
connect 42 203
bind 49 200
listen 50 201
accept 43 202
accept4 288 242
sendto 44 206
recvfrom 45 207
sendmsg 46 211
recvmsg 47 212
sendmmsg 307 269
recvmmsg 299 243
shutdown 48 210
getsockname 51 204
getpeername 52 205
getsockopt 55 209
setsockopt 54 208
# No other process: none is made, looked at, or signalled
fork 57 -
vfork 58 -
execve 59 221
execveat 322 281
setsid 112 157
setpgid 109 154
ptrace 101 117
process_vm_readv 310 270
process_vm_writev 311 271
process_madvise 440 440
process_mrelease 448 448
pidfd_open 434 434
pidfd_getfd 438 438
pidfd_send_signal 424 424
kcmp 312 272
tkill 200 130
rt_sigqueueinfo 129 138
rt_tgsigqueueinfo 297 240
get_robust_list 274 100
migrate_pages 256 238
move_pages 279 239
# Limits, priorities and identities stay as they are
setrlimit 160 164
setpriority 141 140
ioprio_set 251 30
sched_setscheduler 144 119
sched_setparam 142 118
sched_setattr 314 274
setuid 105 146
setgid 106 144
setreuid 113 145
setregid 114 143
setresuid 117 147
setresgid 119 149
setfsuid 122 151
setfsgid 123 152
setgroups 116 159
capset 126 91
# What Landlock has no right for: modes, owners, times and attributes of any file of our uid
chmod 90 -
fchmod 91 52
fchmodat 268 53
fchmodat2 452 452
chown 92 -
fchown 93 55
lchown 94 -
fchownat 260 54
utime 132 -
utimes 235 -
utimensat 280 88
futimesat 261 -
setxattr 188 5
lsetxattr 189 6
fsetxattr 190 7
getxattr 191 8
lgetxattr 192 9
fgetxattr 193 10
listxattr 194 11
llistxattr 195 12
flistxattr 196 13
removexattr 197 14
lremovexattr 198 15
fremovexattr 199 16
# Before ABI 3 Landlock does not see truncate; links and nodes are never needed
truncate 76 45
mknod 133 -
mknodat 259 33
symlink 88 -
symlinkat 266 36
link 86 -
linkat 265 37
# Whole disks, and watching files that may not be read
sync 162 81
syncfs 306 267
quotactl 179 60
quotactl_fd 443 443
inotify_init 253 -
inotify_init1 294 26
inotify_add_watch 254 27
fanotify_init 300 262
fanotify_mark 301 263
name_to_handle_at 303 264
open_by_handle_at 304 265
# Mounts and namespaces
mount 165 40
umount2 166 39
pivot_root 155 41
chroot 161 51
move_mount 429 429
open_tree 428 428
fsopen 430 430
fsconfig 431 431
fsmount 432 432
fspick 433 433
mount_setattr 442 442
statmount 457 457
listmount 458 458
unshare 272 97
setns 308 268
# Corners of the kernel with a history
memfd_create 319 279
memfd_secret 447 447
userfaultfd 323 282
io_uring_setup 425 425
io_uring_enter 426 426
io_uring_register 427 427
io_setup 206 0
io_submit 209 2
bpf 321 280
perf_event_open 298 241
add_key 248 217
request_key 249 218
keyctl 250 219
personality 135 92
modify_ldt 154 -
remap_file_pages 216 234
vmsplice 278 75
# Memory and queues that outlive the process
shmget 29 194
shmat 30 196
shmctl 31 195
shmdt 67 197
semget 64 190
semop 65 193
semtimedop 220 192
semctl 66 191
msgget 68 186
msgsnd 69 189
msgrcv 70 188
msgctl 71 187
mq_open 240 180
mq_unlink 241 181
mq_timedsend 242 182
mq_timedreceive 243 183
mq_notify 244 184
mq_getsetattr 245 185
# The layers themselves
seccomp 317 277
landlock_create_ruleset 444 444
landlock_add_rule 445 445
landlock_restrict_self 446 446
lsm_get_self_attr 459 459
lsm_set_self_attr 460 460
lsm_list_modules 461 461
# The machine
init_module 175 105
finit_module 313 273
delete_module 176 106
kexec_load 246 104
kexec_file_load 320 294
reboot 169 142
swapon 167 224
swapoff 168 225
acct 163 89
sethostname 170 161
setdomainname 171 162
settimeofday 164 170
clock_settime 227 112
clock_adjtime 305 266
adjtimex 159 171
iopl 172 -
ioperm 173 -
syslog 103 116
vhangup 153 58
uselib 134 -
ustat 136 -
sysfs 139 -
lookup_dcookie 212 18
"""

# Allowed for some arguments: `seccomp.py` says for which.
_JUDGED = """
clone 56 220
clone3 435 435
kill 62 129
tgkill 234 131
prlimit64 302 261
prctl 157 167
fcntl 72 25
ioctl 16 29
sched_setaffinity 203 122
"""

# Allowed where the child may execute programs; without memfd_create, execveat, setsid, setpgid.
FOR_PROGRAMS = frozenset({"fork", "vfork", "execve"})


def _numbers(table: str, column: int) -> dict[str, int]:
    rows = [line.split() for line in table.split("\n") if line and not line.startswith("#")]
    return {row[0]: int(row[column]) for row in rows if row[column] != "-"}


# Machine (as `platform.machine()` says it) -> name -> number.
DENIED = {"x86_64": _numbers(_DENIED, 1), "aarch64": _numbers(_DENIED, 2)}
JUDGED = {"x86_64": _numbers(_JUDGED, 1), "aarch64": _numbers(_JUDGED, 2)}
