package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// network is a way to an API that is far off. Packets really take it: each end
// has a network namespace and a TUN device of its own, so that TCP meets the
// delay and the losses.
type network struct {
	name   string
	number byte          // of its addresses
	delay  time.Duration // each way
	loss   float64       // share of the packets, each way
}

const (
	// congestion is the control that any process may choose. As with CUBIC, the
	// usual one, a loss is taken for congestion; a machine with BBR would hide
	// what losses do elsewhere.
	congestion = "reno"

	bandwidth = 200e6 / 8             // bytes a second, each way
	backlog   = 50 * time.Millisecond // a packet that would wait longer is lost
	mtu       = 1500
)

// What a child process is told of its network.
const (
	isolatedVariable = "BENCH_ISOLATED"
	networkVariable  = "BENCH_NETWORK"
	firstExtraFile   = 3 // see [exec.Cmd.ExtraFiles]
)

// isolated runs f in a network namespace, where it may make devices: it starts
// this program again there. Where the system does not allow that, f runs here.
func isolated(ctx context.Context, f func() error) error {
	if os.Getenv(isolatedVariable) != "" {
		return f()
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, self, os.Args[1:]...) //nolint:gosec // the program itself, in another namespace
	cmd.Env = append(os.Environ(), isolatedVariable+"=1")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	if err := cmd.Start(); err != nil {
		return f()
	}
	return cmd.Wait()
}

// farNetworks are those that can be had here.
func farNetworks() []*network {
	if os.Getenv(isolatedVariable) == "" || enter() != nil {
		return nil
	}
	return []*network{
		{name: "40 ms", number: 1, delay: 20 * time.Millisecond},
		{name: "40 ms, 1 % lost", number: 2, delay: 20 * time.Millisecond, loss: 0.01},
	}
}

// enter readies a new network namespace.
func enter() error {
	return errors.Join(
		raise("lo", nil),
		os.WriteFile("/proc/sys/net/ipv4/tcp_congestion_control", []byte(congestion), 0o600),
	)
}

// lead has the command run at the far end of the network. The near end is here.
func (n *network) lead(cmd *exec.Cmd) error {
	near, err := openTUN("far"+strconv.Itoa(int(n.number)), n.address(1))
	if err != nil {
		return err
	}
	cmd.ExtraFiles = []*os.File{near}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d %d %g", networkVariable, n.number, n.delay, n.loss))
	return nil
}

// arrive readies this process's end of the network that it was led to, if any,
// and gives the address to serve at.
func arrive(ctx context.Context) (string, error) {
	told := os.Getenv(networkVariable)
	if told == "" {
		return "127.0.0.1", nil
	}
	n := new(network)
	if _, err := fmt.Sscan(told, &n.number, &n.delay, &n.loss); err != nil {
		return "", fmt.Errorf("reading %s: %w", networkVariable, err)
	}
	if err := enter(); err != nil {
		return "", err
	}
	here, err := openTUN("near", n.address(2))
	if err != nil {
		return "", err
	}
	if err := unix.SetNonblock(firstExtraFile, true); err != nil {
		return "", err
	}
	there := os.NewFile(firstExtraFile, "near end")
	go n.carry(ctx, here, there)
	go n.carry(ctx, there, here)
	return n.address(2).String(), nil
}

func (n *network) address(end byte) net.IP { return net.IPv4(10, 77, n.number, end).To4() }

// carry takes packets from one end to the other.
func (n *network) carry(ctx context.Context, from, to *os.File) {
	type packet struct {
		data []byte
		due  time.Time
	}
	onTheWay := make(chan packet, 1<<14)
	go func() {
		for p := range onTheWay {
			time.Sleep(time.Until(p.due))
			_, _ = to.Write(p.data)
		}
	}()
	defer close(onTheWay)
	var free time.Time // when the line has sent all before
	buffer := make([]byte, mtu)
	for ctx.Err() == nil {
		length, err := from.Read(buffer)
		if err != nil {
			return
		}
		now := time.Now()
		if free.Before(now) {
			free = now
		}
		if rand.Float64() < n.loss || free.Sub(now) > backlog { //nolint:gosec // packets are lost by chance, not in secret
			continue
		}
		free = free.Add(time.Duration(float64(length) / bandwidth * float64(time.Second)))
		onTheWay <- packet{append([]byte(nil), buffer[:length]...), free.Add(n.delay)}
	}
}

// openTUN makes a TUN device with the address in a network of 256.
func openTUN(name string, ip net.IP) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening /dev/net/tun: %w", err)
	}
	device, err := unix.NewIfreq(name)
	if err == nil {
		device.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = errors.Join(unix.IoctlIfreq(fd, unix.TUNSETIFF, device), unix.SetNonblock(fd, true), raise(name, ip))
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("making a TUN device: %w", err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// raise sets a device's address, if there is one, and brings it up.
func raise(name string, ip net.IP) error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	device, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	if ip != nil {
		err = errors.Join(
			device.SetInet4Addr(ip), unix.IoctlIfreq(socket, unix.SIOCSIFADDR, device),
			device.SetInet4Addr(net.IPv4(255, 255, 255, 0).To4()), unix.IoctlIfreq(socket, unix.SIOCSIFNETMASK, device),
		)
		if err != nil {
			return err
		}
	}
	device.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, device)
}
