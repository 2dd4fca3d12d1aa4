// A stand-in for the node plugin of Google's CSI driver: gcsfuse-csi NODE FOLDER GCSFUSE FLAG...
//
// It takes inline volumes as that driver does (bucketName, mountOptions, readOnly), and runs gcsfuse
// beside the kubelet, where the driver runs it in a sidecar of the pod. FOLDER is the kubelet's.
package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

const name = "gcsfuse.csi.storage.gke.io"

type driver struct {
	csi.UnimplementedIdentityServer
	csi.UnimplementedNodeServer
	registration.UnimplementedRegistrationServer
	node, socket, gcsfuse string
	flags                 []string
}

func main() {
	if len(os.Args) < 4 {
		log.Fatal("gcsfuse-csi NODE FOLDER GCSFUSE FLAG...")
	}
	folder := os.Args[2]
	d := &driver{
		node:    os.Args[1],
		socket:  filepath.Join(folder, "plugins", name, "csi.sock"),
		gcsfuse: os.Args[3],
		flags:   os.Args[4:],
	}
	volumes := grpc.NewServer()
	csi.RegisterIdentityServer(volumes, d)
	csi.RegisterNodeServer(volumes, d)
	go serve(volumes, d.socket)
	registrar := grpc.NewServer()
	registration.RegisterRegistrationServer(registrar, d)
	serve(registrar, filepath.Join(folder, "plugins_registry", name+"-reg.sock"))
}

func serve(server *grpc.Server, socket string) {
	if err := os.MkdirAll(filepath.Dir(socket), 0o755); err != nil {
		log.Fatal(err)
	}
	_ = os.Remove(socket)
	listener, err := net.Listen("unix", socket)
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(server.Serve(listener))
}

// The kubelet finds a driver by a socket in its folder of plugins.

func (d *driver) GetInfo(context.Context, *registration.InfoRequest) (*registration.PluginInfo, error) {
	return &registration.PluginInfo{
		Type:              registration.CSIPlugin,
		Name:              name,
		Endpoint:          d.socket,
		SupportedVersions: []string{"1.0.0"},
	}, nil
}

func (d *driver) NotifyRegistrationStatus(
	_ context.Context, status *registration.RegistrationStatus,
) (*registration.RegistrationStatusResponse, error) {
	if !status.PluginRegistered {
		log.Fatal(status.Error)
	}
	return &registration.RegistrationStatusResponse{}, nil
}

// The parts of CSI that the kubelet asks for.

func (d *driver) GetPluginInfo(context.Context, *csi.GetPluginInfoRequest) (*csi.GetPluginInfoResponse, error) {
	return &csi.GetPluginInfoResponse{Name: name, VendorVersion: "0"}, nil
}

func (d *driver) GetPluginCapabilities(
	context.Context, *csi.GetPluginCapabilitiesRequest,
) (*csi.GetPluginCapabilitiesResponse, error) {
	return &csi.GetPluginCapabilitiesResponse{}, nil
}

func (d *driver) Probe(context.Context, *csi.ProbeRequest) (*csi.ProbeResponse, error) {
	return &csi.ProbeResponse{Ready: wrapperspb.Bool(true)}, nil
}

func (d *driver) NodeGetCapabilities(
	context.Context, *csi.NodeGetCapabilitiesRequest,
) (*csi.NodeGetCapabilitiesResponse, error) {
	return &csi.NodeGetCapabilitiesResponse{}, nil
}

func (d *driver) NodeGetInfo(context.Context, *csi.NodeGetInfoRequest) (*csi.NodeGetInfoResponse, error) {
	return &csi.NodeGetInfoResponse{NodeId: d.node}, nil
}

func (d *driver) NodePublishVolume(
	_ context.Context, r *csi.NodePublishVolumeRequest,
) (*csi.NodePublishVolumeResponse, error) {
	if mounted(r.TargetPath) {
		return &csi.NodePublishVolumeResponse{}, nil
	}
	if err := os.MkdirAll(r.TargetPath, 0o755); err != nil {
		return nil, err
	}
	arguments := append([]string{}, d.flags...)
	for _, option := range strings.Split(r.VolumeContext["mountOptions"], ",") {
		arguments = append(arguments, "--"+option)
	}
	if r.Readonly {
		arguments = append(arguments, "-o", "ro")
	}
	arguments = append(arguments, "-o", "allow_other", r.VolumeContext["bucketName"], r.TargetPath)
	log.Print(arguments)
	if output, err := exec.Command(d.gcsfuse, arguments...).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("gcsfuse: %w: %s", err, output)
	}
	return &csi.NodePublishVolumeResponse{}, nil
}

func (d *driver) NodeUnpublishVolume(
	_ context.Context, r *csi.NodeUnpublishVolumeRequest,
) (*csi.NodeUnpublishVolumeResponse, error) {
	if mounted(r.TargetPath) {
		if output, err := exec.Command("umount", "-l", r.TargetPath).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("umount: %w: %s", err, output)
		}
	}
	return &csi.NodeUnpublishVolumeResponse{}, os.RemoveAll(r.TargetPath)
}

func mounted(path string) bool {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		log.Fatal(err)
	}
	return strings.Contains(string(mounts), " "+path+" ")
}
